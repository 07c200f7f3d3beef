"""The names of image files: a path below the image folder, written in one way wherever it comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath

from ...cache.layout import ImageEntry


def normal_name(text: str) -> str:
    """Return a path below the image folder with forward slashes and without "." parts.

    Raises ValueError for a path that leaves the folder, is absolute or is empty.
    """
    path = PurePosixPath(text.replace("\\", "/"))
    absolute = path.is_absolute() or bool(PureWindowsPath(text).drive)
    if absolute or ".." in path.parts or "\0" in text or not path.parts:
        raise ValueError(f"{text!r}: expected a path below the image folder")
    return str(path)


def normalised(entry: ImageEntry) -> ImageEntry:
    """Return an entry with its normal name, where it has one; caches made earlier keep names as given."""
    try:
        return replace(entry, file_name=normal_name(entry.file_name))
    except ValueError:
        return entry
