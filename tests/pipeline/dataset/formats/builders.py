"""One small data set in every format, written by hand here, to be read and compared with its COCO form."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from fdet.pipeline.dataset.data_set import read_data_set

# (columns, rows): sizes that differ, so that no image can be taken for another.
SIZES = {"a.png": (40, 30), "b.png": (64, 48), "c.png": (50, 20)}
NAMES = ("cat", "dog", "ant")
# Of each image: (class, x1, y1, x2, y2). The image c has no objects.
OBJECTS = {
    "a.png": [("dog", 1, 2, 11, 22), ("cat", 0, 0, 40, 30)],
    "b.png": [("ant", 5, 5, 20, 41), ("dog", 30, 1, 64, 48)],
    "c.png": [],
}


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def draw(path: Path, size: tuple[int, int] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns, rows = size or SIZES[path.name]
    # Each has pixels of its own.
    seed = sum(map(ord, path.name))
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def draw_all(folder: Path) -> Path:
    for name in SIZES:
        draw(folder / name)
    return folder


def coco(ids: dict[str, int], *, first: int = 1) -> dict:
    """The COCO form, with these ids of the classes."""
    images, annotations = [], []
    for number, (name, (columns, rows)) in enumerate(SIZES.items(), first):
        images.append({"id": number, "file_name": name, "width": columns, "height": rows})
        for label, x1, y1, x2, y2 in OBJECTS[name]:
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": ids[label]}
            annotations.append({**entry, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0})
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


ALPHABETICAL = {"ant": 1, "cat": 2, "dog": 3}
FROM_ZERO = {name: k for k, name in enumerate(NAMES)}


def write_coco(folder: Path, ids: dict[str, int]) -> Path:
    draw_all(folder / "images")
    return write(folder / "instances.json", json.dumps(coco(ids)))


def label(name: str, *, end: str = "\n") -> str:
    """YOLO's label file of an image."""
    columns, rows = SIZES[name]
    lines = []
    for cls, x1, y1, x2, y2 in OBJECTS[name]:
        centre = ((x1 + x2) / 2 / columns, (y1 + y2) / 2 / rows)
        lines.append(
            " ".join(map(str, (NAMES.index(cls), *centre, (x2 - x1) / columns, (y2 - y1) / rows)))
        )
    return "".join(line + end for line in lines)


def write_labels(folder: Path) -> Path:
    """Of all images; the image without objects has no file."""
    for name in SIZES:
        if OBJECTS[name]:
            write(folder / f"{Path(name).stem}.txt", label(name))
    return folder


def write_yolo(folder: Path, split: str = "train") -> Path:
    draw_all(folder / "images" / split)
    write_labels(folder / "labels" / split)
    names = "".join(f"  {k}: {name}\n" for k, name in enumerate(NAMES))
    return write(folder / "data.yaml", f"path: .\n{split}: images/{split}\nnames:\n{names}")


def xml(name: str, filename: str | None = None, size: str | None = None) -> str:
    """Pascal VOC's XML of an image."""
    columns, rows = SIZES[name]
    size = (
        size
        if size is not None
        else f"<size><width>{columns}</width><height>{rows}</height></size>"
    )
    named = (
        f"<filename>{filename}</filename>"
        if filename is not None
        else f"<filename>{name}</filename>"
    )
    objects = "".join(
        f"<object><name>{cls}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>"
        f"<ymax>{y2}</ymax></bndbox></object>"
        for cls, x1, y1, x2, y2 in OBJECTS[name]
    )
    return f"<annotation>{named}{size}{objects}</annotation>"


def write_xml(folder: Path, filename: str | None = None) -> Path:
    for name in SIZES:
        write(folder / f"{Path(name).stem}.xml", xml(name, filename))
    return folder


def write_voc(folder: Path) -> Path:
    draw_all(folder / "JPEGImages")
    write_xml(folder / "Annotations")
    return folder


def csv_rows(delimiter: str = ",", folder: str = "") -> str:
    rows = []
    for name in SIZES:
        rows += [
            delimiter.join(map(str, (folder + name, x1, y1, x2, y2, cls)))
            for cls, x1, y1, x2, y2 in OBJECTS[name]
        ] or [delimiter.join([folder + name, *[""] * 5])]
    return "\n".join(rows) + "\n"


HEADER = "image_path,xmin,ymin,xmax,ymax,label\n"


def write_csv(folder: Path) -> Path:
    draw_all(folder / "images")
    return write(folder / "boxes.csv", HEADER + csv_rows())


def assert_same(path: Path, ids: dict[str, int], tmp_path: Path, **arguments):
    """A data set is exactly its COCO form; returns what was read."""
    read = read_data_set(path, **arguments)
    wanted = read_data_set(write_coco(tmp_path / "as-coco", ids)).annotations
    found = read.annotations
    assert [(i.id, i.file_name, i.hw) for i in found.images] == [
        (i.id, i.file_name, i.hw) for i in wanted.images
    ]
    assert (found.class_ids, found.class_names) == (wanted.class_ids, wanted.class_names)
    assert found.packed.boxes.tolist() == wanted.packed.boxes.tolist()
    assert found.packed.area.tolist() == wanted.packed.area.tolist()
    assert found.packed.labels.tolist() == wanted.packed.labels.tolist()
    assert found.packed.crowd.tolist() == wanted.packed.crowd.tolist()
    assert found.starts.tolist() == wanted.starts.tolist()
    assert read.images is not None
    assert all((read.images / image.file_name).is_file() for image in found.images)
    return read
