"""Preparation of aerial photographs with hand-drawn tree crowns as tiles and COCO JSON.

The photographs come in the wheel of PyPI's `deepforest` 2.1.0 (MIT): two of a site in Yellowstone, from the
National Ecological Observatory Network. Tiles of the larger one are for training; the other one is for the
report alone.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

from PIL import Image

WHEEL = "deepforest==2.1.0"
TRAIN = "2019_YELL_2_528000_4978000_image_crop2"
TEST = "2019_YELL_2_541000_4977000_image_crop"
Box = tuple[float, float, float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=320, help="of a tile, px")
    parser.add_argument("--step", type=int, default=200, help="between training tiles, px")
    parser.add_argument("--visible", type=float, default=0.3, help="share of a crown that counts")
    arguments = parser.parse_args()
    photographs = fetch(arguments.out)
    side, visible = arguments.side, arguments.visible
    # Most training tiles without a crown show the same meadow: every fourth is enough.
    overlapping = Grid(side, arguments.step, keep_empty=4)
    write_tiles(photographs / TRAIN, arguments.out / "train", overlapping, visible)
    write_tiles(photographs / TEST, arguments.out / "test", Grid(side, side, keep_empty=1), visible)


@dataclass(frozen=True)
class Grid:
    """Tiles of up to `side` px, evenly spaced, at most `step` px apart.

    One of every `keep_empty` empty tiles is kept.
    """

    side: int
    step: int
    keep_empty: int

    def spans(self, length: int) -> list[tuple[int, int]]:
        """Return (start, end) along one axis: overlapping tiles of one size, or even ones without overlap."""
        if self.step >= self.side:
            count = math.ceil(length / self.side)
            cuts = [round(k * length / count) for k in range(count + 1)]
            return list(pairwise(cuts))
        count = math.ceil((length - self.side) / self.step) + 1
        starts = [round(k * (length - self.side) / (count - 1)) for k in range(count)]
        return [(start, start + self.side) for start in starts]


def fetch(out: Path) -> Path:
    """Download the wheel without its dependencies and take the photographs out of it."""
    folder = out / "photographs"
    names = [
        f"deepforest/data/{name}{suffix}" for name in (TRAIN, TEST) for suffix in (".png", ".xml")
    ]
    if not all((folder / name).is_file() for name in names):
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*command, "--no-deps", "--dest", str(folder), WHEEL], check=True)
        (wheel,) = folder.glob("deepforest-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, names)
        wheel.unlink()
    return folder / "deepforest" / "data"


def write_tiles(photograph: Path, out: Path, grid: Grid, visible: float) -> None:
    """Write out/images/*.png and out/annotations.json."""
    image = Image.open(photograph.with_suffix(".png")).convert("RGB")
    crowns = read_boxes(photograph.with_suffix(".xml"))
    shutil.rmtree(out, ignore_errors=True)
    (out / "images").mkdir(parents=True)
    images, annotations, empty = [], [], 0
    for (top, bottom), (left, right) in product(grid.spans(image.height), grid.spans(image.width)):
        boxes = list(cut(crowns, (left, top, right, bottom), visible))
        empty += not boxes
        if not boxes and empty % grid.keep_empty:
            continue
        name, image_id = f"{left}-{top}.png", len(images) + 1
        image.crop((left, top, right, bottom)).save(out / "images" / name)
        size = {"width": right - left, "height": bottom - top}
        images.append({"id": image_id, "file_name": name, **size})
        for x, y, w, h in boxes:
            box = {"bbox": [x, y, w, h], "area": w * h, "iscrowd": 0, "category_id": 1}
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **box})
    categories = [{"id": 1, "name": "tree"}]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (out / "annotations.json").write_text(json.dumps(data))
    print(f"{out.name}: {len(images)} tiles, {len(annotations)} crowns")


def read_boxes(path: Path) -> list[Box]:
    """Return (x1, y1, x2, y2) of every object of a Pascal VOC file."""
    root = ElementTree.parse(path).getroot()
    names = ("xmin", "ymin", "xmax", "ymax")
    return [tuple(float(box.findtext(n)) for n in names) for box in root.iter("bndbox")]


def cut(crowns: list[Box], tile: tuple[int, int, int, int], visible: float) -> Iterator[Box]:
    """Yield (x, y, w, h) in the tile (left, top, right, bottom) of each crown of which it shows enough."""
    left, top, right, bottom = tile
    for x1, y1, x2, y2 in crowns:
        x, y = max(x1, left), max(y1, top)
        w, h = min(x2, right) - x, min(y2, bottom) - y
        if w > 0 and h > 0 and w * h >= visible * (x2 - x1) * (y2 - y1):
            yield x - left, y - top, w, h


if __name__ == "__main__":
    main()
