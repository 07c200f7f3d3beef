"""The names of image files: a path below the image folder, written in one way wherever it comes from."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath

from ....cache.layout import ImageEntry


def normal_name(text: str, *, literal: bool = False) -> str:
    """Return a path below the image folder with forward slashes and without "." parts.

    literal: whether a backslash is a letter of the file's name. Raises ValueError for a path that leaves the
    folder, is absolute or is empty.
    """
    path = PurePosixPath(text if literal else text.replace("\\", "/"))
    absolute = path.is_absolute() or (not literal and bool(PureWindowsPath(text).drive))
    if absolute or ".." in path.parts or "\0" in text or not path.parts:
        raise ValueError(f"{text!r}: expected a path below the image folder")
    return str(path)


def valid_name(text: str, *, literal: bool = False) -> str:
    """Return the normal form of a name, "" where it has none; `literal` is that of `normal_name`."""
    try:
        return normal_name(text, literal=literal)
    except ValueError:
        return ""


def same_image(first: ImageEntry, second: ImageEntry) -> bool:
    """Return whether two entries of one id are the same image: of one size and, as `folded`, of one name."""
    mine, theirs = (folded(normalised(entry).file_name) for entry in (first, second))
    return first.hw == second.hw and mine == theirs


def folded(name: str) -> str:
    """Return a name without the differences that file systems and programs make: composition and case."""
    return unicodedata.normalize("NFC", name).casefold()


def normalised(entry: ImageEntry) -> ImageEntry:
    """Return an entry with its normal name, where it has one; caches made earlier keep names as given."""
    try:
        return replace(entry, file_name=normal_name(entry.file_name))
    except ValueError:
        return entry
