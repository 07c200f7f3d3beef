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
from ....cache.errors import CorruptCache, FdetError
from ...evaluation.digests import digests_of, own_annotations_digest
from ...evaluation.evaluate import evaluate_run, write_evaluation
from ...evaluation.options import EvaluateOptions
from ...runs.advice.rules import Advice, advise
from ...runs.evaluations import KeptEvaluation, kept_evaluations
from ...runs.inspection import inspected
from ...runs.position import BEST
from .records import RunRecord, errors_of
from .score_figures import score_figures_of

log = logging.getLogger(__name__)


def with_errors(
    records: Sequence[RunRecord],
    val: Path | None,
    images: Path | None,
    device: str,
    threads: int | None,
) -> list[RunRecord]:
    """Return the records with the errors that lower the AP50 of each run, its scores, and what to do next.

    They are those of the best weights on `val`, or without `val` those of the newest evaluation in the
    run directory. An evaluation of other weights, or of other data, is repeated and kept. A run that cannot
    be evaluated on `val` stays among the records without errors, and a warning says why.
    """
    data = None if val is None else data_of(val)
    if val is not None and data is not None:
        _evaluate(records, val, data, images, device, threads)
    return [replace(_with_scores(record, data), advice=_advice(record)) for record in records]


def data_of(val: Path) -> dict[str, str]:
    """Return what an evaluation on a cache with its own annotations is of.

    Raises InputError, CorruptCache.
    """
    return {**digests_of(val), "annotations": own_annotations_digest(val)}


def _evaluate(
    records: Sequence[RunRecord],
    val: Path,
    data: Mapping[str, str],
    images: Path | None,
    device: str,
    threads: int | None,
) -> None:
    lacking = [r for r in records if _has_weights(r) and _newest_evaluation(r.folder, data) is None]
    for k, record in enumerate(lacking, start=1):
        assert record.info is not None
        log.info("evaluating %s (%d of %d)", record.name, k, len(lacking))
        folder = images if record.info.own_backbone else None
        options = EvaluateOptions(images=folder, device=device, threads=threads)
        try:
            found = evaluate_run(record.folder, val, options)
            write_evaluation(record.folder, record.folder, "best", val, *found)
        except FdetError as error:
            log.warning("%s is not evaluated: %s", record.name, error)


def _has_weights(record: RunRecord) -> bool:
    return record.info is not None and (record.folder / BEST).is_file()


def _newest_evaluation(run: Path, data: Mapping[str, str] | None) -> KeptEvaluation | None:
    """Return the newest evaluation of the best weights: on these data, or on any where `data` is None.

    One with another NMS than the run's own is not taken, since others of the report have their own.
    An older fdet did not write what an evaluation is of. Such a file is of the weights unless it is older
    than these, but of which data is not known. The result is None where there is no such evaluation.
    """
    weights = run / BEST
    if not weights.is_file():
        return None
    for kept in kept_evaluations(run):
        fits = not kept.nms if data is None else kept.is_of(data)
        if fits and kept.may_be_of_weights(weights):
            return kept
    return None


def _with_scores(record: RunRecord, data: Mapping[str, str] | None) -> RunRecord:
    """Return the record with the errors and the scores of its newest evaluation, as far as it has them."""
    found = _newest_evaluation(record.folder, data) if record.info is not None else None
    if found is None:
        return record
    try:
        errors, scores = errors_of(found.content), score_figures_of(found.content)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        log.warning("%s: the evaluation cannot be read (%s)", found.path, error)
        return record
    return replace(record, errors=errors, scores=scores)


def _advice(record: RunRecord) -> tuple[Advice, ...]:
    """Return what to do next with a run; nothing where it cannot be read, which its note says."""
    if record.state == "unreadable":
        return ()
    try:
        return tuple(advise(inspected(record.folder)))
    except (FdetError, OSError) as error:
        log.warning("%s: what to do next is not known: %s", record.name, error)
        return ()


def detections_of(record: RunRecord, val: Path) -> list[dict[str, Any]] | None:
    """Return what the evaluation on `val` detected as COCO results, or None where there is none.

    Raises CorruptCache.
    """
    evaluation = _newest_evaluation(record.folder, data_of(val))
    if evaluation is None or not evaluation.detections.is_file():
        return None
    path = evaluation.detections
    raw = read_below(record.folder, path.name, 2**31)
    if evaluation.of.get("detections") != hashlib.sha256(raw).hexdigest():
        raise CorruptCache(f"{path}: its bytes are not those that {evaluation.path.name} names")
    try:
        results: list[dict[str, Any]] = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CorruptCache(f"{path}: not JSON ({error})") from error
    return results
