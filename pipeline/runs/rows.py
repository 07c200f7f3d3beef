"""A table of runs: a row a run, as a mapping from column to value."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]


def to_csv(rows: Sequence[Row]) -> str:
    """With a line of names; an empty cell where there is nothing. RFC 4180, but for its line ends."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
