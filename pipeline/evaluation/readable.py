"""JSON that people can read: a line for each entry, but one line for a list of plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def readable_json(value: Any, indent: int = 0) -> str:
    """Return a value as JSON. Raises ValueError for a number that is not finite."""
    inside = " " * (indent + 2)
    if isinstance(value, Mapping) and value:
        rows = [f"{json.dumps(k)}: {readable_json(v, indent + 2)}" for k, v in value.items()]
        return "{\n" + ",\n".join(inside + row for row in rows) + "\n" + " " * indent + "}"
    if isinstance(value, list | tuple) and any(
        isinstance(v, Mapping | list | tuple) for v in value
    ):
        rows = [readable_json(v, indent + 2) for v in value]
        return "[\n" + ",\n".join(inside + row for row in rows) + "\n" + " " * indent + "]"
    return json.dumps(value, allow_nan=False)
