"""One numbering of the classes of several data sets, where these know their classes by name alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .annotations import Annotations
from .coco_json import annotations_of, decoded
from .data_set import DataSet
from .formats.splits import usual_name


def numbered_alike(read: Mapping[str, DataSet]) -> dict[str, DataSet]:
    """Return the splits of several paths with the ids of the training split's classes, by their names.

    read: the splits by name; without one for training the first decides. Only data sets whose ids are made
    up are changed. They list all classes of the training split, and those that it lacks behind them.
    """
    first = next((name for name in read if usual_name(name) == "train"), next(iter(read), ""))
    if not first:
        return dict(read)
    listed = _by_name(read[first].annotations)
    known = dict(listed)
    found = {}
    for name, data in read.items():
        if name != first and data.numbered:
            for own in data.annotations.class_names:
                known.setdefault(own, max(known.values()) + 1)
            own_names = dict.fromkeys((*listed, *data.annotations.class_names))
            data = _with_classes(data, {own: known[own] for own in own_names})
        found[name] = data
    return found


def _by_name(annotations: Annotations) -> dict[str, int]:
    """Return the ids of the classes by name; of two that share a name the first."""
    found: dict[str, int] = {}
    for name, number in zip(annotations.class_names, annotations.class_ids, strict=True):
        found.setdefault(name, number)
    return found


def _with_classes(data: DataSet, ids: Mapping[str, int]) -> DataSet:
    """Return a data set that lists these classes, which include its own, with these ids."""
    annotations = data.annotations
    if _by_name(annotations) == ids:
        return data
    coco = decoded(data.raw, data.source)
    renamed = {entry["id"]: ids[entry["name"]] for entry in coco["categories"]}
    changed: dict[str, Any] = {
        **coco,
        "annotations": [
            {**entry, "category_id": renamed[entry["category_id"]]} for entry in coco["annotations"]
        ],
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
    }
    outlines = annotations.packed.outlines is not None
    parsed = annotations_of(changed, data.source, outlines=outlines)
    return replace(
        data,
        raw=json.dumps(changed).encode(),
        annotations=replace(parsed, remarks=annotations.remarks),
    )
