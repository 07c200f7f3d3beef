"""The file or folder that a path in a YOLO data set means, also one of another machine or in other case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..images.folders import paths_alike
from .files import is_closed, plain_path

# The longest path that Linux opens.
_MAX_PATH = 4096


def located(
    text: str, bases: Sequence[Path], listed: dict[Path, dict[str, list[str]]] | None = None
) -> tuple[Path, bool] | None:
    """Return the file or folder that a path means, and whether it is there as it is written.

    A path of another machine, or of another folder, is looked for without its first parts, and then in other
    letter case where that can mean one file only. A backslash parts folders unless a file has it in its name.
    None: it is nowhere. listed: as `paths_alike` has it, for many paths.
    """
    text = text.strip()
    if not 0 < len(text) <= _MAX_PATH or "\0" in text:
        return None
    absolute = bool(PureWindowsPath(text).drive)
    slashed = text.replace("\\", "/")
    for written in () if absolute else dict.fromkeys((text, slashed)):
        if (found := _first_there([base / written for base in bases])) is not None:
            return plain_path(found), True
    text = slashed
    parts = [part for part in PurePosixPath(text).parts if part not in ("/", "..", ".")]
    for k in range(len(parts)):
        if (found := _first_there([base.joinpath(*parts[k:]) for base in bases])) is not None:
            # Roboflow writes ../train/images for train/images.
            return plain_path(found), k == 0 and text.startswith("../")
    listed = {} if listed is None else listed
    for k in range(len(parts)):
        alike = {plain_path(p) for base in bases for p in paths_alike(base, parts[k:], listed)}
        if alike:
            return (alike.pop(), False) if len(alike) == 1 else None
    return None


def _first_there(paths: Sequence[Path]) -> Path | None:
    """Return the first path that is there, else the first that may be in a folder that is closed to us."""
    there = next((path for path in paths if is_there(path)), None)
    return there or next((path for path in paths if is_closed(path)), None)


def is_there(path: Path) -> bool:
    """Return whether a path is there; one that the system cannot have is not."""
    try:
        return path.exists()
    except OSError:  # The name is too long.
        return False
