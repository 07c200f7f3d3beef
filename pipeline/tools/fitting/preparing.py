"""The parts of the data, split, numbered alike and checked, before anything is chosen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ....cache.errors import InputError
from ...dataset.annotations import Annotations
from ...dataset.classes.numbering import numbered_alike
from ...dataset.coco.reading import decoded
from ...dataset.data_set import DataSet, missing_text
from ...dataset.formats.format import MISSING_REMEDY
from .data_check import check_parts, written_part
from .folder import DATA, SPLIT
from .inputs import WHOLE
from .parts import Part, named_parts, split_parts
from .session import Session
from .words import split_words


def prepared_parts(current: Session) -> tuple[Part, Part]:
    """Return the parts of the data, split and checked.

    Raises InputError, StorageError, StepFailed, and KeyboardInterrupt where it was interrupted.
    """
    options = current.options
    train, val = named_parts(options)
    if val is None:
        folder, whole = current.out / DATA, _written(current, WHOLE, train, _left(current, train))
        images = current.inputs.parts[WHOLE].folder
        train, val = split_parts(folder, Path(images), options)
        _split(current, whole, (train, val))
        current.state.images = images
    else:
        left, left_of_val = (
            _left(current, part) if part.present else None for part in (train, val)
        )
        alike = _numbered_as_train(current, train, val)
        train = _written(current, "train", train, left)
        val = _written(current, "val", val, left_of_val) if alike is val else alike
    check_parts(current, train, val, lambda: refuse_unusable(train.read(), val.read()))
    return train, val


def _left(current: Session, part: Part) -> DataSet | None:
    """Return what is left of a part some of whose images are missing; None for a part with all of them.

    Other commands refuse such a part, so it is written anew. Raises InputError unless errors are ignored.
    """
    data = replace(part, present=True).read()
    if not data.missing:
        return None
    total = len(data.missing) + len(data.unread) + len(data.annotations.images)
    said = f"{data.source}: {missing_text(data.missing, total)}"
    if not part.present:
        raise InputError(f"{said}; {MISSING_REMEDY}, or give --ignore-errors to go on without them")
    current.say(f"warning: {said}; --ignore-errors goes on without them")
    return data


def _written(current: Session, name: str, part: Part, left: DataSet | None) -> Part:
    """Return a part, written as a file of its own where that is what is left of it. Raises StorageError."""
    return part if left is None else written_part(current, name, part, left, left.raw)


def _split(current: Session, whole: Part, parts: tuple[Part, Part]) -> None:
    """Split a part. parts: what becomes of it; where one of its files was deleted both are written again."""
    folder, products = current.out / DATA, [part.path for part in parts]
    if not current.is_done(SPLIT, *products):
        for product in products:
            product.unlink(missing_ok=True)
    words = split_words(whole, folder, current.options.seed)
    current.step(SPLIT, words, products=products)


def _numbered_as_train(current: Session, train: Part, val: Part) -> Part:
    """Return the part for validation with the classes of training, where it has no others.

    Each of two VOC folders or CSV files numbers its own classes, and a file of COCO may lack a class. Raises
    InputError, StorageError.
    """
    mine, theirs = train.read(), val.read()
    raw = _with_classes_of(mine, theirs)
    if raw is None:
        return val
    alike = written_part(current, "val", val, theirs, raw)
    current.say(f"{theirs.source}: its classes get the numbers of training, in {alike.path}")
    return alike


def _with_classes_of(train: DataSet, val: DataSet) -> bytes | None:
    """Return the COCO JSON of `val` with the classes of `train`; None where it has these, or others."""
    mine, theirs = _classes(train.annotations), _classes(val.annotations)
    if mine == theirs:
        return None
    if val.numbered:
        alike = numbered_alike({"train": train, "val": val})["val"]
        return alike.raw if _classes(alike.annotations) == mine else None
    if not theirs.items() <= mine.items():
        return None
    coco: dict[str, Any] = decoded(val.raw, val.source)
    categories = decoded(train.raw, train.source)["categories"]
    return json.dumps({**coco, "categories": categories}).encode()


def refuse_unusable(train: DataSet, val: DataSet) -> None:
    """Raise InputError for data that nothing can be made of, whatever errors are ignored."""
    _refuse_other_classes(train, val)
    _refuse_without_objects(train, "learn", "label some")
    _refuse_without_objects(val, "measure", "name other data for validation by --val")


def _refuse_other_classes(train: DataSet, val: DataSet) -> None:
    mine, theirs = (_classes(data.annotations) for data in (train, val))
    if mine != theirs:
        odd = ", ".join(map(str, sorted(set(mine.items()) ^ set(theirs.items()))[:3]))
        raise InputError(
            f"{val.source}: its classes are not those of {train.source}; differing (id, name): {odd}; "
            f"{_remedy(mine, theirs)}"
        )


def _remedy(train: Mapping[int, str], val: Mapping[int, str]) -> str:
    """Return what to do about classes of validation that training does not have."""
    if set(val.values()) <= set(train.values()):
        return "they have the same names: give each the same id in both"
    return "every class of validation must be one of training, of the same id and name"


def _refuse_without_objects(data: DataSet, purpose: str, remedy: str) -> None:
    if data.annotations.packed.crowd.all():
        images = len(data.annotations.images)
        none = (
            "its image has no object"
            if images == 1
            else f"none of its {images} images has an object"
        )
        raise InputError(f"{data.source}: {none}, so there is nothing to {purpose}; {remedy}")


def _classes(annotations: Annotations) -> dict[int, str]:
    return dict(zip(annotations.class_ids, annotations.class_names, strict=True))
