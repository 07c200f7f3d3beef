"""One numbering of the classes of several data sets, where these know their classes by name alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ....cache.wording import counted
from ..annotations import Annotations
from ..coco.reading import annotations_of, decoded
from ..data_set import DataSet
from ..formats.files import first_few
from ..formats.splits import usual_name


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


def listed_alike(read: Mapping[str, DataSet]) -> tuple[dict[str, DataSet], list[str]]:
    """Return the splits with one list of classes, and a sentence on each whose list was another.

    Classes are the same where their names are. They have the ids of the training split, without one those of
    the first; what it lacks keeps its id where that is free. Nothing is changed where a list has a name
    twice, or says how frequent its classes are, as in LVIS.
    """
    first = next((name for name in read if usual_name(name) == "train"), next(iter(read), ""))
    lists = {name: data.annotations for name, data in read.items()}
    twice = any(len(set(a.class_names)) < len(a.class_ids) for a in lists.values())
    if not first or twice or any(a.declared is not None for a in lists.values()):
        return dict(read), []
    known = _by_name(lists[first])
    for listed in lists.values():
        for name, number in _by_name(listed).items():
            taken = set(known.values())
            known.setdefault(name, number if number not in taken else max(taken) + 1)
    names, ids = zip(*sorted(known.items(), key=lambda item: item[1]), strict=True)
    found, said = {}, []
    for split, data in read.items():
        own = _by_name(data.annotations)
        changed = sorted(name for name, number in own.items() if known[name] != number)
        added = sorted(known.keys() - own.keys())
        others = {number: known[name] for name, number in own.items()}
        if changed or added:
            alike = data.annotations.with_classes(ids, names, others)
            data = replace(data, annotations=alike)
        if changed:
            what = counted(len(changed), "class gets another id", "classes get other ids")
            said.append(f"{split}: {what}, that of {first}: {first_few(changed)}")
        if added:
            what = counted(len(added), "class of other splits is", "classes of other splits are")
            said.append(f"{split}: {what} added to its list: {first_few(added)}")
        found[split] = data
    return found, said


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
