"""Aerial photographs with hand-drawn tree crowns -> tiles and COCO JSON.

The photographs come in the wheel of PyPI's `deepforest` 2.1.0 (MIT): two of a site in Yellowstone,
from the National Ecological Observatory Network. Tiles of the larger one are for training; the other
one is for the report alone.
"""

import argparse
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

WHEEL = "deepforest==2.1.0"
TRAIN = "2019_YELL_2_528000_4978000_image_crop2"
TEST = "2019_YELL_2_541000_4977000_image_crop"
Box = tuple[float, float, float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--tile", type=int, default=400, help="side of a training tile, px")
    parser.add_argument("--step", type=int, default=200, help="from one training tile to the next")
    parser.add_argument("--test-tile", type=int, default=400)
    parser.add_argument("--visible", type=float, default=0.4, help="share of a crown that counts")
    arguments = parser.parse_args()
    photographs = fetch(arguments.out)
    write_tiles(photographs / TRAIN, arguments.out / "train", arguments.tile, arguments.step, arguments.visible)
    size = arguments.test_tile
    write_tiles(photographs / TEST, arguments.out / "test", size, size, arguments.visible)


def fetch(out: Path) -> Path:
    """Download the wheel without its dependencies and take the photographs out of it."""
    folder = out / "photographs"
    names = [f"deepforest/data/{name}{suffix}" for name in (TRAIN, TEST) for suffix in (".png", ".xml")]
    if not all((folder / name).is_file() for name in names):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, "--no-deps", "--dest", str(folder), WHEEL], check=True)
        (wheel,) = folder.glob("deepforest-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, names)
        wheel.unlink()
    return folder / "deepforest" / "data"


def write_tiles(photograph: Path, out: Path, side: int, step: int, visible: float) -> None:
    """out/images/*.png and out/annotations.json."""
    image = Image.open(photograph.with_suffix(".png")).convert("RGB")
    crowns = read_boxes(photograph.with_suffix(".xml"))
    (out / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for left, top in corners(image.width, image.height, side, step):
        tile = image.crop((left, top, min(left + side, image.width), min(top + side, image.height)))
        image_id = len(images) + 1
        name = f"{left}-{top}.png"
        tile.save(out / "images" / name)
        images.append({"id": image_id, "file_name": name, "width": tile.width, "height": tile.height})
        for x, y, w, h in cut(crowns, left, top, tile.width, tile.height, visible):
            box = {"bbox": [x, y, w, h], "area": w * h, "iscrowd": 0, "category_id": 1}
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **box})
    data = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "tree"}],
    }
    (out / "annotations.json").write_text(json.dumps(data))
    print(f"{out.name}: {len(images)} tiles of {side} px, {len(annotations)} crowns")


def corners(width: int, height: int, side: int, step: int) -> Iterator[tuple[int, int]]:
    """Top left corners of tiles; the last ones are moved in, so that none is narrow."""

    def starts(length: int) -> list[int]:
        last = max(0, length - side)
        return sorted({min(start, last) for start in range(0, last + step, step)})

    return ((left, top) for top in starts(height) for left in starts(width))


def read_boxes(path: Path) -> list[Box]:
    """(x1, y1, x2, y2) of every object of a Pascal VOC file."""
    root = ElementTree.parse(path).getroot()
    names = ("xmin", "ymin", "xmax", "ymax")
    return [tuple(float(box.findtext(n)) for n in names) for box in root.iter("bndbox")]


def cut(
    crowns: list[Box], left: int, top: int, width: int, height: int, visible: float
) -> Iterator[Box]:
    """(x, y, w, h) in the tile, of crowns of which it shows enough."""
    for x1, y1, x2, y2 in crowns:
        a, b = max(x1 - left, 0), max(y1 - top, 0)
        w, h = min(x2 - left, width) - a, min(y2 - top, height) - b
        if w > 0 and h > 0 and w * h >= visible * (x2 - x1) * (y2 - y1):
            yield a, b, w, h


if __name__ == "__main__":
    main()
