"""audit.json and audit.csv: the list, and what it is of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ....cache.disk.publish import publish_bytes
from ...runs.rows import Row, to_csv
from .entries import Entry
from .paths import LIST, TABLE
from .state import State
from .suspicion import KINDS

FORMAT = 1
COLUMNS = (
    *("rank", "suspicion", "kind", "image", "image_id", "label"),
    *(f"box_{side}" for side in "xywh"),
    "found",
    *(f"found_box_{side}" for side in "xywh"),
    *("found_score", "suggestion", "picture"),
)


@dataclass(frozen=True, slots=True)
class Results:
    """The content of the files that an audit writes.

    names: the classes. reached: the number of suspicions of each kind that are at least `above`, of
    which the list may have fewer. images, objects: how many were looked at. few: the classes, by name, that
    some head saw too seldom to say that a box of theirs is invented. pictures: the file of each entry, by
    rank.
    """

    run: Path
    cache: Path
    state: State
    above: float
    names: Sequence[str]
    entries: Sequence[Entry]
    reached: Mapping[str, int]
    images: int
    objects: int
    few: Sequence[str]
    pictures: Mapping[int, str]

    @property
    def kinds(self) -> dict[str, int]:
        """The number of entries of each kind."""
        counts = Counter(entry.kind for entry in self.entries)
        return {kind: counts[kind] for kind in KINDS}

    def rows(self) -> list[dict[str, Any]]:
        """Return the entries as values."""
        return [e.to_json(self.names, self.pictures.get(e.rank)) for e in self.entries]


def write_lists(out: Path, results: Results) -> None:
    """Write audit.json and audit.csv in place of older ones. Raises StorageError."""
    content = {
        "format": FORMAT,
        "run": str(results.run),
        "cache": str(results.cache),
        "of": asdict(results.state),
        "above": results.above,
        "images": results.images,
        "objects": results.objects,
        "not_judged": list(results.few),
        "suspicions": {kind: results.reached.get(kind, 0) for kind in KINDS},
        "kinds": results.kinds,
        "entries": results.rows(),
    }
    # A name in COCO JSON may have halves of characters, which UTF-8 cannot write.
    text = json.dumps(content, indent=1, ensure_ascii=False).encode(errors="backslashreplace")
    publish_bytes(out / LIST, text + b"\n", existing="replace")
    table = _table(results).encode(errors="backslashreplace")
    publish_bytes(out / TABLE, table, existing="replace")


def _table(results: Results) -> str:
    """Return the entries as CSV; without any, its header."""
    rows = [_row(entry) for entry in results.rows()]
    return to_csv(rows) if rows else ",".join(COLUMNS) + "\n"


def _row(entry: Mapping[str, Any]) -> Row:
    """Return an entry as a line of a table, with a column for each side of a box."""
    row: Row = {}
    for name, value in entry.items():
        if name in ("box", "found_box"):
            sides = value or (None,) * 4
            row |= {f"{name}_{side}": v for side, v in zip("xywh", sides, strict=True)}
        else:
            row[name] = value
    return row
