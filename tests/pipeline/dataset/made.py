"""Small data sets of images that differ in content, in COCO form, for tests to spoil."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 48, 32
CLASSES = [{"id": 1, "name": "cat"}, {"id": 4, "name": "dog"}]


def draw(path: Path, seed: int, width: int = WIDTH, height: int = HEIGHT) -> None:
    """Write an image of coloured noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@dataclass
class Made:
    """A data set in a folder: images/, and a COCO JSON for each split."""

    folder: Path
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def add(self, split: str, name: str, *boxes: tuple[int, list[float]]) -> None:
        """Add an image of the usual size with boxes (class, [x, y, w, h]); its file is not written."""
        coco = self.splits.setdefault(
            split, {"images": [], "annotations": [], "categories": [dict(c) for c in CLASSES]}
        )
        number = 1 + len(coco["images"])
        coco["images"].append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for category, box in boxes:
            coco["annotations"].append(
                {"image_id": number, "category_id": category, "bbox": box, "iscrowd": 0}
            )

    def write(self) -> list[Path]:
        """Write the JSON of each split and return the files."""
        for name, coco in self.splits.items():
            (self.folder / f"{name}.json").write_text(json.dumps(coco))
        return [self.folder / f"{name}.json" for name in self.splits]


def sound(folder: Path) -> Made:
    """Return a data set in two splits, six images each, in which nothing is wrong."""
    made = Made(folder)
    for k in range(12):
        split = "train" if k < 6 else "val"
        draw(folder / "images" / f"{k}.png", k)
        made.add(split, f"{k}.png", (1, [2.0 + k, 3, 12, 10]), (4, [20, 10.0 + k, 9, 8]))
    return made


Spoil = Callable[[Made], object]
