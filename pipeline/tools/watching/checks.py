"""What can be refused of watching before any run is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....cache.errors import InputError
from ...runs.finding import find_runs

PAGE = "watch.html"


def check_watching(paths: Sequence[Path], out: Path | None) -> Path:
    """Return the file that the page goes to: `out`, or one in the first folder.

    Raises InputError for folders that are not there, and for a file that cannot be written.
    """
    find_runs(paths, quiet=True, may_be_empty=True)
    page = paths[0] / PAGE if out is None else out
    if page.is_dir() or not page.absolute().parent.is_dir():
        raise InputError(f"--out {page}: expected a file in a folder that exists")
    if page.suffix not in (".html", ".htm"):
        raise InputError(f"--out {page}: expected a name that ends in .html")
    return page
