"""Where a zoo is, and where the entries of one are kept that have been fetched."""

from __future__ import annotations

import os
from pathlib import Path

from ...cache.disk.objects import located

# The variable that names the zoo: a folder, or s3://bucket/prefix.
PLACE = "FDET_ZOO"
SCHEME = "zoo:"


def zoo_place(given: Path | None = None) -> Path:
    """Return the zoo that is given, else that of the environment, else the user's own folder.

    Raises InputError for a URL that is none of a folder or an object store.
    """
    if given is not None:
        return given
    named = os.environ.get(PLACE)
    return located(named) if named else _home("XDG_DATA_HOME", ".local/share") / "fdet" / "zoo"


def fetched_folder() -> Path:
    """Return the folder that keeps fetched entries."""
    return _home("XDG_CACHE_HOME", ".cache") / "fdet" / "zoo"


def _home(variable: str, default: str) -> Path:
    named = os.environ.get(variable)
    return Path(named) if named else Path.home() / default
