"""options.json: where a run's data lie and what else its command was given; --resume RUN needs no more.

It is written at the start and whenever the run is continued. What it names is checked as what a command line
names: run.json says by digests what the run was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...cache.disk.files import read_below
from ...cache.disk.publish import publish_bytes
from ...cache.errors import CorruptCache
from ...cache.format.sealed import canonical_json, parse_json

NAME = "options.json"
MAX_BYTES = 2**22


def write_options(run: Path, values: Mapping[str, Any]) -> None:
    """Write the values by the name of the option, whole or not at all. Raises StorageError."""
    publish_bytes(run / NAME, canonical_json(dict(values)) + b"\n", existing="replace")


def read_options(run: Path) -> dict[str, Any]:
    """Return the values by the name of the option, {} for a run that does not state them.

    Raises CorruptCache where the file holds something else.
    """
    path = run / NAME
    if not path.is_file():
        return {}
    values = parse_json(read_below(run, NAME, MAX_BYTES), path)
    for name, value in values.items():
        if not _is_plain(value):
            raise CorruptCache(
                f"{path}: {name}: expected a text, a number or a list of texts; remove the file, and give "
                "the options again"
            )
    return values


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(each, str) for each in value)
    return isinstance(value, str | int) and not isinstance(value, bool)
