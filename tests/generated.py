"""A small data set with what real ones have: id holes, an empty image, crowds, 2:1 images."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CATEGORIES = [{"id": 2, "name": "disc"}, {"id": 5, "name": "square"}, {"id": 11, "name": "cross"}]
COLOURS = {2: (220, 60, 50), 5: (60, 90, 230), 11: (240, 210, 40)}


def make_dataset(folder: Path, images: int = 12, side: int = 128, seed: int = 0) -> Path:
    """images/ and annotations.json below `folder`; every third image is 2:1, number 3 is empty."""
    rng = np.random.default_rng(seed)
    (folder / "images" / "sub").mkdir(parents=True)
    entries, boxes = [], []
    for k in range(images):
        width, height = (side, side // 2) if k % 3 == 1 else (side, side)
        image_id = 10 + 7 * k
        name = f"sub/{image_id}.png" if k % 2 else f"{image_id}.png"
        canvas = rng.integers(90, 130, (height, width, 3)).astype(np.uint8)
        picture = Image.fromarray(canvas)
        entries.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for x, y, size in [] if k == 3 else _places(rng, width, height):
            category = CATEGORIES[int(rng.integers(3))]["id"]
            _draw(ImageDraw.Draw(picture), category, x, y, size)
            boxes.append(_annotation(len(boxes) + 1, image_id, category, [x, y, size, size]))
        if k == 0:
            boxes.append(_annotation(len(boxes) + 1, image_id, 2, [1, 1, 60, 20], crowd=1))
        picture.save(folder / "images" / name)
    data = {"images": entries, "annotations": boxes, "categories": CATEGORIES}
    path = folder / "annotations.json"
    path.write_text(json.dumps(data))
    return path


def outlined(path: Path) -> Path:
    """The same data set with outlines: run lengths of discs and crowds, polygons of the others."""
    data = json.loads(path.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in data["images"]}
    for entry in data["annotations"]:
        entry["segmentation"] = _outline(entry, *sizes[entry["image_id"]])
    out = path.parent / "outlined.json"
    out.write_text(json.dumps(data))
    return out


def runs_of(bitmap: np.ndarray) -> list[int]:
    """COCO's run lengths of a bitmap (H, W)."""
    flat = bitmap.T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=0))
    return np.diff([0, *edges, len(flat)]).tolist()


def _outline(entry: dict, height: int, width: int) -> object:
    x, y, w, h = entry["bbox"]
    if entry["iscrowd"] or entry["category_id"] == 2:
        picture = Image.new("L", (width, height))
        shape = (x, y, x + w - 1, y + h - 1)
        pen = ImageDraw.Draw(picture)
        (pen.rectangle if entry["iscrowd"] else pen.ellipse)(shape, fill=1)
        return {"size": [height, width], "counts": runs_of(np.asarray(picture))}
    if entry["category_id"] == 5:
        return [[x, y, x + w, y, x + w, y + h, x, y + h]]
    bar = w // 3
    across = [x, y + bar, x + w, y + bar, x + w, y + h - bar, x, y + h - bar]
    down = [x + bar, y, x + w - bar, y, x + w - bar, y + h, x + bar, y + h]
    return [across, down]


def _places(rng: np.random.Generator, width: int, height: int) -> list[tuple[int, int, int]]:
    """Objects in separate cells, so that none hides another."""
    cell = 64
    cells = [(x, y) for x in range(0, width, cell) for y in range(0, height, cell)]
    chosen = rng.permutation(len(cells))[: int(rng.integers(1, len(cells) + 1))]
    places = []
    for c in chosen:
        size = int(rng.integers(28, 52))
        dx, dy = rng.integers(2, cell - size - 1, 2)
        places.append((int(cells[c][0] + dx), int(cells[c][1] + dy), size))
    return places


def _draw(pen: ImageDraw.ImageDraw, category: int, x: int, y: int, size: int) -> None:
    colour, far = COLOURS[category], size - 1
    if category == 2:
        pen.ellipse((x, y, x + far, y + far), fill=colour)
    elif category == 5:
        pen.rectangle((x, y, x + far, y + far), fill=colour)
    else:
        bar = size // 3
        pen.rectangle((x, y + bar, x + far, y + far - bar), fill=colour)
        pen.rectangle((x + bar, y, x + far - bar, y + far), fill=colour)


def _annotation(number: int, image_id: int, category: int, box: list[int], crowd: int = 0) -> dict:
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": crowd,
    }
