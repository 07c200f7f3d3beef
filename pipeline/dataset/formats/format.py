"""A format of data sets: how it is recognised, which splits there are, and what it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Coco = dict[str, Any]


# The remedy for images that annotations name and that are not there.
MISSING_REMEDY = (
    "restore them, take them out of the annotations (their label files in YOLO), or check --images"
)


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a data set in COCO form.

    coco: images, annotations and categories as COCO JSON has them; an image without "width" and "height" has
    them in its file alone. source: its name in messages. raw: the bytes of the file that held exactly this,
    None where it was put together. images: the folder that the names of image files are relative to, None
    where the format does not say. remarks: sentences on what was assumed or left out. unread: the images that
    are left out since they cannot be read, by name, and why. missing: the images that are left out since they
    are not there and only they say their sizes, by name, with the number of their objects. numbered: whether
    the data set knows its classes by name alone, so that their ids are made up.
    """

    coco: Coco
    source: str
    raw: bytes | None = None
    images: Path | None = None
    remarks: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """A format of data sets.

    help: what it is, for the help of --format. recognises: whether a path looks like it, from names and the
    beginnings of files. splits: the names of the splits of a path, () where it is a single set. read: the
    contents of a path and of one of its splits; the split is None where `splits` is empty, and the folder
    of the images is None where the user named none. further: the names that may be given for a split besides
    those of `splits`: of splits without images, and of unions of others, which are not to be read with them.
    These functions raise InputError that names the file, the line or field, what is expected and what was
    found.
    """

    help: str
    recognises: Callable[[Path], bool]
    splits: Callable[[Path], Sequence[str]]
    read: Callable[[Path, str | None, Path | None], Contents]
    further: Callable[[Path], Sequence[str]] = lambda path: ()
