"""The runs in folders: each folder with a run.json, a folder itself or up to two levels below it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...cache.errors import InputError

log = logging.getLogger(__name__)

# Runs are searched in a folder itself and in this many levels below it.
DEPTH = 2


def find_runs(
    paths: Sequence[Path], *, quiet: bool = False, may_be_empty: bool = False
) -> list[Path]:
    """Return each folder with a run.json once: the paths themselves, or folders up to two levels below them.

    quiet: whether folders that cannot be read are left out without a warning. may_be_empty: whether a path
    need not hold any yet. Raises InputError for a path that is no folder, and for one that holds no run.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise InputError(f"{path}: no such folder; give runs, or folders that hold runs")
        runs = list(_runs_below(path, DEPTH, quiet))
        if not runs and not may_be_empty:
            raise InputError(
                f"{path}: no run in it, nor in folders up to {DEPTH} levels below (a run has a "
                "run.json); make one with `fdet train-heads`"
            )
        for run in runs:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _runs_below(folder: Path, depth: int, quiet: bool) -> Iterator[Path]:
    try:
        taken = (folder / "run.json").exists()
        inside = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    except OSError as error:
        if not quiet:
            log.warning("%s: %s; it is left out", folder, error.strerror)
        return
    if taken:
        yield folder
    elif depth:
        for inner in sorted(inside, key=_natural_key):
            yield from _runs_below(inner, depth - 1, quiet)


def _natural_key(path: Path) -> tuple[str, ...]:
    """Return a sort key that puts run-2 before run-10."""
    parts = path.name.replace("-", " ").split()
    return tuple(part.zfill(12) if part.isdigit() else part for part in parts)
