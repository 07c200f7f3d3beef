"""metrics.jsonl: one JSON object a line, appended; cut back to the checkpoint on resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAME = "metrics.jsonl"


def append(run: Path, **values: Any) -> None:
    """Add a line; every line names its `kind` and its `step`."""
    with (run / NAME).open("a") as file:
        file.write(json.dumps(values) + "\n")


def read(run: Path) -> list[dict[str, Any]]:
    """All whole lines; a last one that a kill cut off is left out."""
    path = run / NAME
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def cut_back(run: Path, step: int) -> None:
    """Forget what was logged after a checkpoint: those steps will be done, and logged, again."""
    kept = [json.dumps(line) + "\n" for line in read(run) if line["step"] <= step]
    (run / NAME).write_text("".join(kept))
