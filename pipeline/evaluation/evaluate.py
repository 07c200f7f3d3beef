"""The evaluation of a run on a cache, as `fdet evaluate` does it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...cache.disk.publish import PATIENCE_SECONDS, only_writer, publish_bytes
from ...cache.format.header import CacheHeader
from ...heads.family import NMSSettings
from ..exported.opening import read_detector
from ..exported.runtimes import is_exported
from ..runs.evaluations import detections_path, evaluation_path, unfinished_of
from .checks import check_evaluation
from .coco import Metrics, coco_metrics, unique_names
from .comparing import compared, other_detections
from .digests import digests_of, weights_digest
from .duplicates import find_duplicates
from .errors import error_breakdown
from .lvis import warn_of_few_detections
from .matching import all_matches
from .options import EvaluateOptions
from .readable import readable_json
from .running import detected
from .scores import score_figures

DEFAULTS = EvaluateOptions()


def evaluate_run(
    run: Path, cache: Path, options: EvaluateOptions = DEFAULTS
) -> tuple[Metrics, list[dict[str, Any]]]:
    """Score a run on the plain view of a cache; also return the detections in COCO's result format.

    Raises InputError, KeyMismatch (the cache holds other features), IncompleteCache, CorruptCache.
    """
    info, own = check_evaluation(run, cache, options), read_detector(run).config.head.suppression
    # What is wrong with the other run is said before all the work.
    other = None if options.compare is None else other_detections(options.compare, cache, options)
    done = detected(run, cache, options)
    annotations, names = done.annotations, unique_names(done.annotations)
    warn_of_few_detections(annotations, info.config.head.max_detections)
    metrics = coco_metrics(
        annotations, done.found, options.engine, done.results, done.info.frequencies
    )
    matches = all_matches(annotations, done.found)
    scored, head = score_figures(matches, names), info.config.head
    across = None
    if isinstance(head, NMSSettings):
        across = asdict(find_duplicates(matches, done.found, scored, head.nms_iou))
    metrics = replace(
        metrics,
        errors=error_breakdown(matches, len(names)),
        scores=scored,
        duplicates=across,
        unfinished=None if is_exported(run) else unfinished_of(run, info),
        annotations=done.digest,
        nms="" if head.suppression == own else head.suppression,
    )
    if other is not None:
        metrics = replace(metrics, compared=compared(done, other()))
    return metrics, done.results


def write_evaluation(
    folder: Path,
    run: Path,
    checkpoint: str,
    cache: Path,
    metrics: Metrics,
    results: Sequence[dict[str, Any]],
    second: Path | None = None,
) -> Path:
    """Write evaluation-<cache>.json and detections-<cache>.json, and return the path of the former.

    It states what it belongs to, by digests: the weights, the cache, its images, the annotations and the
    detections. Older files of the same data are replaced; those of other data, such as another cache of
    that name, are kept, and this evaluation gets another name. If two evaluations end at once, both files
    are those of the later one. second: the second backbone's cache, where there is one.
    """
    name = cache.resolve().name.removesuffix(".fdet")
    found = json.dumps(list(results)).encode()
    of = {
        "weights": weights_digest(run, checkpoint),
        **digests_of(cache),
        **({"annotations": metrics.annotations} if metrics.annotations else {}),
        **({} if second is None else {"second": CacheHeader.read(second).id}),
        **({"nms": metrics.nms} if metrics.nms else {}),
        "detections": hashlib.sha256(found).hexdigest(),
    }
    evaluation = readable_json({**metrics.to_json(), "of": of}).encode()
    with only_writer(folder, "evaluation", patience=PATIENCE_SECONDS):
        path = evaluation_path(folder, name, of)
        publish_bytes(detections_path(path), found, existing="replace")
        publish_bytes(path, evaluation, existing="replace")
    return path
