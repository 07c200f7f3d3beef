"""The log metrics.jsonl: one JSON object per line, appended; it is cut back to the checkpoint on resume."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...cache.disk.files import read_below
from ...cache.disk.publish import publish_bytes, storage_error
from ...cache.errors import CorruptCache

NAME = "metrics.jsonl"
MAX_BYTES = 2**28
MAX_LINE_BYTES = 2**22
MAX_DEPTH = 8
_COUNTS = "step", "epoch", "skipped"
_AMOUNTS = (
    *("lr", "seconds", "images_per_second", "waiting"),
    *("process_memory_mb", "device_memory_mb"),
)


def append(run: Path, line: Mapping[str, Any]) -> None:
    """Append a line; every line names its `kind` and its `step`. Raises StorageError."""
    try:
        with (run / NAME).open("a") as file:
            file.write(json.dumps(dict(line)) + "\n")
    except OSError as error:
        raise storage_error(run / NAME, error) from error


def read(run: Path) -> list[dict[str, Any]]:
    """Return all whole lines, without a last one that a kill cut off. Raises CorruptCache, StorageError.

    The values are safe to calculate with, as logs of other people's runs are read too: `kind` is a text,
    `step`, `epoch` and all rates, times and sizes are numbers from 0 on, and no number is beyond a float.
    """
    path = run / NAME
    if not os.path.lexists(path):
        return []
    lines = read_below(run, NAME, MAX_BYTES).split(b"\n")
    return [_parsed(line, path, number) for number, line in enumerate(lines[:-1], 1) if line]


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    where = f"{path}, line {number}"
    if len(line) > MAX_LINE_BYTES:
        raise CorruptCache(f"{where}: {len(line)} bytes, expected at most {MAX_LINE_BYTES}")
    try:
        found = json.loads(line)
        _check_numbers(found)
        _check_fields(found)
    except (ValueError, TypeError, RecursionError) as error:
        raise CorruptCache(
            f"{where}: not one of fdet's ({error}); the file was altered: without that line the rest of the "
            "run can be used"
        ) from error
    checked: dict[str, Any] = found
    return checked


def _check_numbers(value: Any, depth: int = 0) -> None:
    """Raise ValueError for an integer beyond 2^63, and for values nested deeper than MAX_DEPTH."""
    if depth > MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} times")
    if isinstance(value, int) and abs(value) > 2**63:
        raise ValueError("a number beyond 2^63")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        _check_numbers(one, depth + 1)


def _check_fields(line: Any) -> None:
    """Raise TypeError or ValueError for a line that lacks a field or has a value of a wrong kind."""
    if not isinstance(line, dict) or not isinstance(line.get("kind"), str):
        raise TypeError("expected an object with a kind")
    for name in _COUNTS:
        if type(line.get(name, 0)) is not int or not 0 <= line.get(name, 0) < 2**53:
            raise ValueError(f"{name}: expected a whole number from 0 on, got {line[name]!r}")
    if "step" not in line:
        raise ValueError("step: missing")
    for name in _AMOUNTS:
        if not _is_amount(line.get(name, 0)):
            raise ValueError(f"{name}: expected a number from 0 on, got {line[name]!r}")
    if line["kind"] == "eval" and not isinstance(line.get("metrics"), dict):
        raise TypeError("metrics: expected an object")


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def cut_back(run: Path, step: int, evaluated: bool) -> None:
    """Remove the lines that were logged after a checkpoint: those steps will be done, and logged, again.

    evaluated: whether the evaluation at this very step is part of the checkpoint.
    """

    def kept(line: dict[str, Any]) -> bool:
        at: int = line["step"]
        return at < step or (at == step and (evaluated or line["kind"] != "eval"))

    text = "".join(json.dumps(line) + "\n" for line in read(run) if kept(line))
    publish_bytes(run / NAME, text.encode(), existing="replace")
