"""Preparation of aerial photographs with hand-drawn tree crowns: tiles, with Pascal VOC XML as it comes.

The photographs come in the wheel of PyPI's `deepforest` 2.1.0 (MIT): two of a site in Yellowstone, from the
National Ecological Observatory Network. Tiles of the larger one are for training; the other one is for the
report alone.
"""

import argparse
import math
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

from PIL import Image

WHEEL = "deepforest==2.1.0"
TRAIN = "2019_YELL_2_528000_4978000_image_crop2"
TEST = "2019_YELL_2_541000_4977000_image_crop"


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
    """Write out/*.png, and an XML file beside each."""
    image = Image.open(photograph.with_suffix(".png")).convert("RGB")
    whole = ElementTree.parse(photograph.with_suffix(".xml")).getroot()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    tiles, crowns, empty = 0, 0, 0
    for (top, bottom), (left, right) in product(grid.spans(image.height), grid.spans(image.width)):
        name, tile = f"{left}-{top}.png", (left, top, right, bottom)
        cut_out = cut(whole, name, tile, visible)
        count = len(cut_out.findall("object"))
        empty += not count
        if not count and empty % grid.keep_empty:
            continue
        image.crop(tile).save(out / name)
        ElementTree.ElementTree(cut_out).write((out / name).with_suffix(".xml"))
        tiles, crowns = tiles + 1, crowns + count
    print(f"{out.name}: {tiles} tiles, {crowns} crowns")


def cut(
    whole: ElementTree.Element, name: str, tile: tuple[int, int, int, int], visible: float
) -> ElementTree.Element:
    """Return the annotation of a tile (left, top, right, bottom): the crowns of which it shows enough."""
    left, top, right, bottom = tile
    annotation = deepcopy(whole)
    put(annotation, "filename", name)
    for side, pixels in (("width", right - left), ("height", bottom - top)):
        put(annotation, f"size/{side}", pixels)
    for crown in annotation.findall("object"):
        box = crown.find("bndbox")
        x1, y1, x2, y2 = (float(box.findtext(side)) for side in ("xmin", "ymin", "xmax", "ymax"))
        inside = max(x1, left), max(y1, top), min(x2, right), min(y2, bottom)
        w, h = inside[2] - inside[0], inside[3] - inside[1]
        if w <= 0 or h <= 0 or w * h < visible * (x2 - x1) * (y2 - y1):
            annotation.remove(crown)
            continue
        for side, place, start in zip(
            ("xmin", "ymin", "xmax", "ymax"), inside, (left, top) * 2, strict=True
        ):
            put(box, side, f"{place - start:g}")
    return annotation


def put(element: ElementTree.Element, path: str, value: object) -> None:
    """Set the text of an element below another one, which is made where there is none."""
    for part in path.split("/"):
        inner = element.find(part)
        element = ElementTree.SubElement(element, part) if inner is None else inner
    element.text = str(value)


if __name__ == "__main__":
    main()
