"""`fdet dataset convert`: a data set written in another format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from ....cache.errors import InputError, did_you_mean
from ....cache.wording import counted
from ..annotations import Annotations
from ..coco.reading import decoded
from ..data_set import DataSet
from .whole_folder import refuse_no_folder, whole_folder
from .writers import WRITERS

Read = TypeVar("Read")


def check_format(to: str) -> None:
    """Raise InputError for a format that cannot be written."""
    if to not in WRITERS:
        raise InputError(f"--to {to!r}{did_you_mean(to, WRITERS)}")


def with_outlines(read: Callable[[bool], Read]) -> Read:
    """Return what is read with the outlines of all objects, or without where not all of them have one.

    read: the function that reads with or without them. Raises InputError.
    """
    try:
        return read(True)
    except InputError:
        return read(False)


def convert_data_set(splits: Mapping[str | None, DataSet], out: Path, to: str) -> list[str]:
    """Write the splits of a data set in a format, and return what that does not keep.

    splits: the data of each split by its name, or of None where there are no splits. to: a row of WRITERS.
    Image files are linked, or copied where the disk has no links. Raises InputError, StorageError.
    """
    check_format(to)
    refuse_no_folder(out)
    remarks: dict[str, None] = {}
    with whole_folder(out) as scratch:
        for name, data in splits.items():
            for remark in write_split(data, data.annotations, scratch, name, to):
                remarks[f"{name}: {remark}" if len(splits) > 1 else remark] = None
    return list(remarks)


def write_split(
    data: DataSet, part: Annotations, out: Path, name: str | None, to: str
) -> list[str]:
    """Write a part of a data set into a folder, and return what the format does not keep."""
    remarks = WRITERS[to](part, data.images or Path(), out, name)
    count = _outlined(data) if part.packed.outlines is None else 0
    return [
        *remarks,
        *([f"the outlines of {counted(count, 'object')} are left out"] if count else []),
    ]


def _outlined(data: DataSet) -> int:
    """Return how many objects of a data set have an outline."""
    objects = decoded(data.raw, data.source).get("annotations") or ()
    return sum(bool(entry.get("segmentation")) for entry in objects)
