"""Evaluations of runs that `fdet evaluate` keeps beside them, and those that are lacking."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...cache.errors import CorruptCache, FdetError, InputError
from ...cache.files import read_below
from ...cache.sealed import parse_json
from ..evaluation.evaluate import evaluate_run, write_evaluation
from ..runs.info import MAX_BYTES
from .records import RunRecord, errors_of

log = logging.getLogger(__name__)


def with_errors(
    records: Sequence[RunRecord],
    val: Path | None,
    images: Path | None,
    device: str,
    threads: int | None,
) -> list[RunRecord]:
    """With the errors that keep each run's AP50 down: by the best weights on `val`, else by the newest
    evaluation that stands beside a run.

    An evaluation that is older than the weights is made again and kept. A run that cannot be evaluated
    there keeps its place without them, and a warning says why.
    """
    if val is not None:
        _evaluate(records, val, images, device, threads)
    return [replace(record, errors=_errors(record, val)) for record in records]


def _evaluate(
    records: Sequence[RunRecord], val: Path, images: Path | None, device: str, threads: int | None
) -> None:
    lacking = [r for r in records if _has_weights(r) and _newest(r.folder, val) is None]
    for k, record in enumerate(lacking, start=1):
        assert record.info is not None
        log.info("evaluating %s (%d of %d)", record.name, k, len(lacking))
        folder = images if record.info.own_backbone else None
        try:
            found = evaluate_run(record.folder, val, images=folder, device=device, threads=threads)
            write_evaluation(record.folder, val, *found)
        except FdetError as error:
            log.warning("%s is not evaluated: %s", record.name, error)


def _has_weights(record: RunRecord) -> bool:
    return record.info is not None and (record.folder / "best.safetensors").is_file()


def _newest(run: Path, val: Path | None, kind: str = "evaluation") -> Path | None:
    """The newest evaluation, on any cache or one of that name; None where it is of older weights."""
    name = "*" if val is None else val.resolve().name.removesuffix(".fdet")
    weights = run / "best.safetensors"
    files = [p for p in run.glob(f"{kind}-*.json") if name in ("*", p.stem.partition("-")[2])]
    files = [p for p in files if weights.is_file() and _written(p) >= _written(weights)]
    return max(files, key=_written, default=None)


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns


def _errors(record: RunRecord, val: Path | None) -> dict[str, float]:
    path = _newest(record.folder, val) if record.info is not None else None
    if path is None:
        return {}
    try:
        return errors_of(parse_json(read_below(path.parent, path.name, MAX_BYTES), path))
    except (CorruptCache, InputError, TypeError, ValueError, AttributeError) as error:
        log.warning("%s: no evaluation that can be read (%s)", path, error)
        return {}


def detections_of(record: RunRecord, val: Path) -> list[dict[str, Any]] | None:
    """What the evaluation on `val` found, as COCO results; None where there is none.

    Raises CorruptCache.
    """
    path = _newest(record.folder, val, "detections")
    if path is None:
        return None
    try:
        results: list[dict[str, Any]] = json.loads(read_below(path.parent, path.name, 2**31))
    except (ValueError, RecursionError) as error:
        raise CorruptCache(f"{path}: not JSON ({error})") from error
    return results
