"""The evaluations that `fdet evaluate` keeps in run directories, and new ones where they are missing."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ....cache.disk.files import read_below
from ....cache.errors import CorruptCache, FdetError, InputError
from ....cache.format.sealed import parse_json
from ...evaluation.evaluate import digests_of, evaluate_run, weights_digest, write_evaluation
from ...runs.info import MAX_BYTES
from .records import RunRecord, errors_of

log = logging.getLogger(__name__)


def with_errors(
    records: Sequence[RunRecord],
    val: Path | None,
    images: Path | None,
    device: str,
    threads: int | None,
) -> list[RunRecord]:
    """Return the records with the errors that lower the AP50 of each run.

    They are the errors of the best weights on `val`, or without `val` those of the newest evaluation in the
    run directory. An evaluation of other weights, or of a cache with other images, is repeated and kept. A
    run that cannot be evaluated on `val` stays among the records without errors, and a warning says why.
    """
    if val is not None:
        _evaluate(records, val, images, device, threads)
    return [replace(record, errors=_errors(record, val)) for record in records]


def _evaluate(
    records: Sequence[RunRecord], val: Path, images: Path | None, device: str, threads: int | None
) -> None:
    lacking = [r for r in records if _has_weights(r) and _newest_evaluation(r.folder, val) is None]
    for k, record in enumerate(lacking, start=1):
        assert record.info is not None
        log.info("evaluating %s (%d of %d)", record.name, k, len(lacking))
        folder = images if record.info.own_backbone else None
        try:
            found = evaluate_run(record.folder, val, images=folder, device=device, threads=threads)
            write_evaluation(record.folder, record.folder, "best", val, *found)
        except FdetError as error:
            log.warning("%s is not evaluated: %s", record.name, error)


def _has_weights(record: RunRecord) -> bool:
    return record.info is not None and (record.folder / "best.safetensors").is_file()


def _newest_evaluation(run: Path, val: Path | None) -> tuple[Path, Mapping[str, Any]] | None:
    """Return the path and content of the newest evaluation of the best weights, on any cache or on `val`.

    An older fdet did not write what an evaluation is of; such a file is of the weights unless it is older
    than these. The result is None where there is no such evaluation.
    """
    weights = run / "best.safetensors"
    if not weights.is_file():
        return None
    name = "*" if val is None else val.resolve().name.removesuffix(".fdet")
    wanted = {"weights": weights_digest(run, "best"), **({} if val is None else digests_of(val))}
    for path in sorted(run.glob("evaluation-*.json"), key=_modified, reverse=True):
        if name not in ("*", path.stem.partition("-")[2]):
            continue
        try:
            content = parse_json(read_below(run, path.name, MAX_BYTES), path)
        except (CorruptCache, InputError) as error:
            log.warning("%s: the evaluation cannot be read (%s)", path, error)
            continue
        of = content.get("of")
        if isinstance(of, dict) and all(of.get(key) == value for key, value in wanted.items()):
            return path, content
        if of is None and _modified(path) >= _modified(weights):
            return path, content
    return None


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns


def _errors(record: RunRecord, val: Path | None) -> dict[str, float]:
    found = _newest_evaluation(record.folder, val) if record.info is not None else None
    if found is None:
        return {}
    path, content = found
    try:
        return errors_of(content)
    except (TypeError, ValueError, AttributeError) as error:
        log.warning("%s: the evaluation cannot be read (%s)", path, error)
        return {}


def detections_of(record: RunRecord, val: Path) -> list[dict[str, Any]] | None:
    """Return what the evaluation on `val` detected as COCO results, or None where there is none.

    Raises CorruptCache.
    """
    evaluation = _newest_evaluation(record.folder, val)
    if evaluation is None:
        return None
    name = evaluation[0].name.replace("evaluation-", "detections-", 1)
    path = record.folder / name
    if not path.is_file():
        return None
    raw = read_below(record.folder, name, 2**31)
    expected = (evaluation[1].get("of") or {}).get("detections")
    if expected not in (None, hashlib.sha256(raw).hexdigest()):
        raise CorruptCache(f"{path}: its bytes are not those that {evaluation[0].name} names")
    try:
        results: list[dict[str, Any]] = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CorruptCache(f"{path}: not JSON ({error})") from error
    return results
