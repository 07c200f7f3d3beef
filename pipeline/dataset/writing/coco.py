"""A data set written as COCO JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ....cache.disk.publish import publish_bytes
from ..annotations import Annotations
from ..coco.reading import COVERAGE
from ..formats.assembly import span
from ..images.names import normal_name
from .placing import Placed, place_all, split_name


def write_coco(annotations: Annotations, images: Path, out: Path, split: str | None) -> list[str]:
    """Write out/SPLIT.json and out/images/SPLIT, or out/annotations.json and out/images without a split.

    Ids, classes, boxes, areas, crowds, the fields of LVIS, and outlines where they were read are kept; other
    fields of the file that was read are not. Raises InputError, StorageError.
    """
    folder = out / "images" / split_name(split, "")
    place_all(
        [
            Placed(images / image.file_name, folder / normal_name(image.file_name))
            for image in annotations.images
        ]
    )
    text = json.dumps(coco_of(annotations)).encode()
    publish_bytes(out / f"{split_name(split, 'annotations')}.json", text, existing="replace")
    return []


def coco_of(annotations: Annotations) -> dict[str, Any]:
    """Return annotations as COCO JSON has them, and as LVIS adds to it."""
    entries: list[dict[str, Any]] = []
    images = []
    for position, image in enumerate(annotations.images):
        size = {"height": image.hw[0], "width": image.hw[1]}
        entry = {"id": image.id, "file_name": normal_name(image.file_name), **size}
        images.append({**entry, **_coverage(annotations, image.id)})
        for k in range(int(annotations.starts[position]), int(annotations.starts[position + 1])):
            entries.append(
                {"id": len(entries) + 1, "image_id": image.id, **_object(annotations, k, image.hw)}
            )
    categories: list[dict[str, Any]] = [
        {"id": number, "name": name}
        for number, name in zip(annotations.class_ids, annotations.class_names, strict=True)
    ]
    if annotations.declared is not None:
        for category, frequency in zip(categories, annotations.declared, strict=True):
            category["frequency"] = frequency
    return {"images": images, "annotations": entries, "categories": categories}


def _object(annotations: Annotations, k: int, hw: tuple[int, int]) -> dict[str, Any]:
    packed = annotations.packed
    x1, y1, x2, y2 = packed.boxes[k].tolist()
    entry = {
        "category_id": annotations.class_ids[int(packed.labels[k])],
        "bbox": [x1, y1, span(x1, x2), span(y1, y2)],
        "area": float(packed.area[k]),
        "iscrowd": int(packed.crowd[k]),
    }
    if packed.outlines is None:
        return entry
    return {**entry, "segmentation": packed.outlines.coco(k, hw)}


def _coverage(annotations: Annotations, image_id: int) -> dict[str, list[int]]:
    if annotations.coverage is None:
        return {}
    coverage = annotations.coverage[image_id]
    labels = (coverage.negative, coverage.partial)
    return {
        name: [annotations.class_ids[label] for label in given]
        for name, given in zip(COVERAGE, labels, strict=True)
    }
