"""A small data set of 14 classes that look alike: seven shapes, each in white and in black."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("bishop", "knight", "king", "pawn", "queen", "rook", "draught")
NAMES = tuple(f"{colour}-{shape}" for colour in ("black", "white") for shape in SHAPES)
SIDE, CELL = 96, 32


def make(folder: Path, images: dict[str, int], seed: int = 0) -> None:
    """Write NAME/ with that many images, and NAME.json, for each name."""
    rng = np.random.default_rng(seed)
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(NAMES)]
    for name, count in images.items():
        (folder / name).mkdir(parents=True)
        entries, boxes = [], []
        for k in range(count):
            file_name = f"board-{k:03}.jpg"
            picture, pieces = _board(rng)
            picture.save(folder / name / file_name, quality=95)
            entries.append({"id": k + 1, "file_name": file_name, "width": SIDE, "height": SIDE})
            for category, box in pieces:
                boxes.append(
                    {
                        **{"id": len(boxes) + 1, "image_id": k + 1, "category_id": category},
                        **{"bbox": box, "area": box[2] * box[3], "iscrowd": 0},
                    }
                )
        data = {"images": entries, "annotations": boxes, "categories": categories}
        (folder / f"{name}.json").write_text(json.dumps(data))


def _board(rng: np.random.Generator) -> tuple[Image.Image, list[tuple[int, list[int]]]]:
    """A grey board with three to six pieces, each in a cell of its own."""
    noise = rng.integers(110, 140, (SIDE, SIDE, 3)).astype(np.uint8)
    picture = Image.fromarray(noise)
    pen, pieces = ImageDraw.Draw(picture), []
    cells = [(x, y) for x in range(0, SIDE, CELL) for y in range(0, SIDE, CELL)]
    for c in rng.permutation(len(cells))[: int(rng.integers(3, 7))]:
        kind, side = int(rng.integers(len(NAMES))), int(rng.integers(20, 29))
        dx, dy = rng.integers(0, CELL - side, 2)
        box = [int(cells[c][0] + dx), int(cells[c][1] + dy), side, side]
        _draw(pen, kind, box)
        pieces.append((kind + 1, box))
    return picture, pieces


def _draw(pen: ImageDraw.ImageDraw, kind: int, box: list[int]) -> None:
    """Draw a rectangle with a mark in it that tells the shape."""
    x, y, side, _ = box
    far, bar = side - 1, side // 3
    paper, ink = ((30,) * 3, (90,) * 3) if kind < len(SHAPES) else ((230,) * 3, (170,) * 3)
    pen.rectangle((x, y, x + far, y + far), fill=paper)
    marks = (
        (x + bar, y, x + 2 * bar, y + far),
        (x, y + bar, x + far, y + 2 * bar),
        (x, y, x + bar, y + bar),
        (x + 2 * bar, y + 2 * bar, x + far, y + far),
        (x, y + 2 * bar, x + bar, y + far),
        (x + 2 * bar, y, x + far, y + bar),
    )
    for mark in marks[: kind % len(SHAPES)][-1:]:
        pen.rectangle(mark, fill=ink)
