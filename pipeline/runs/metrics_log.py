"""metrics.jsonl: one JSON object a line, appended; cut back to the checkpoint on resume."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...cache.errors import CorruptCache
from ...cache.publish import publish_bytes, storage_error

NAME = "metrics.jsonl"


def append(run: Path, line: Mapping[str, Any]) -> None:
    """Add a line; every line names its `kind` and its `step`. Raises StorageError."""
    try:
        with (run / NAME).open("a") as file:
            file.write(json.dumps(dict(line)) + "\n")
    except OSError as error:
        raise storage_error(run / NAME, error) from error


def read(run: Path) -> list[dict[str, Any]]:
    """All whole lines; a last one that a kill cut off is left out. Raises CorruptCache."""
    path = run / NAME
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    try:
        return [json.loads(line) for line in lines[:-1] if line]
    except ValueError as error:
        raise CorruptCache(f"{path}: a line is not JSON ({error})") from error


def cut_back(run: Path, step: int, evaluated: bool) -> None:
    """Forget what was logged after a checkpoint: those steps will be done, and logged, again.

    evaluated: whether the evaluation at this very step is part of the checkpoint.
    """

    def kept(line: dict[str, Any]) -> bool:
        at: int = line["step"]
        return at < step or (at == step and (evaluated or line["kind"] != "eval"))

    text = "".join(json.dumps(line) + "\n" for line in read(run) if kept(line))
    publish_bytes(run / NAME, text.encode(), existing="replace")
