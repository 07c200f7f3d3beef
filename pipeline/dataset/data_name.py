"""The name of a data set: a path, and what looking at the path cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...cache.errors import InputError


@dataclass(frozen=True, slots=True)
class DataName:
    """The name of a data set: its path, and its format and split where looking at the path is not enough.

    option: the command-line option that names the split, for messages.
    """

    path: Path
    format: str | None = None
    split: str | None = None
    option: str = "--split"

    def __str__(self) -> str:
        return str(self.path) if self.split is None else f"{self.path} ({self.split})"


def named(path: Path | None, format: str | None, split: str | None) -> DataName | None:
    """Return the name of the data set of --annotations, None without one.

    Raises InputError for a format or a split of nothing.
    """
    if path is not None:
        return DataName(path, format, split)
    for option, value in (("--format", format), ("--split", split)):
        if value is not None:
            raise InputError(f"{option} {value}: it goes with --annotations; leave it out")
    return None


def check_path(path: Path) -> None:
    """Raise InputError where there is no such file or folder; one that is closed to us is there."""
    try:
        there = path.exists()
    except OSError as error:
        if isinstance(error, PermissionError):
            return
        raise InputError(f"annotations {path}: {error.strerror}") from error
    if not there:
        raise InputError(f"annotations {path}: No such file or directory")
