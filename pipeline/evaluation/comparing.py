"""`--compare`: another run on the same images, and how certain it is that the one is better."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...cache.disk.files import read_below
from ...cache.errors import CorruptCache, InputError, KeyMismatch
from ...cache.format.json_values import list_of, mapping_of, number_of, whole_of
from ..exported.opening import read_detector
from ..exported.runtimes import is_exported
from ..runs.evaluations import KeptEvaluation, kept_evaluations
from .checks import check_evaluation
from .coco import resampled_ap, unique_names
from .digests import digests_of, weights_digest
from .options import EvaluateOptions
from .resampling import Comparison, paired_difference
from .running import Detected, detected

log = logging.getLogger(__name__)

# The maximum size of a file with detections.
MAX_BYTES = 2**31
# px: no box is as far away, or as large.
_FAR = 1e9


@dataclass(frozen=True, slots=True)
class OtherDetections:
    """The detections of the run that is compared with, in COCO's result format.

    weights, annotations: the sha256 of what they are from.
    """

    run: Path
    weights: str
    results: Sequence[dict[str, Any]]
    annotations: str


def other_detections(
    run: Path, cache: Path, options: EvaluateOptions
) -> Callable[[], OtherDetections]:
    """Return a function that gives the detections of another run on the images of a cache.

    A run that was trained on the features of the cache is evaluated on it. Of a run on other features the
    newest evaluation of the same images is taken, which it keeps for these weights. Raises InputError where
    it has none, KeyMismatch, CorruptCache.
    """
    theirs = _options_for(run, options)
    weights = weights_digest(run, options.checkpoint)
    try:
        check_evaluation(run, cache, theirs)
    except KeyMismatch as error:
        kept = _kept(run, cache, weights)
        if kept is None:
            raise InputError(
                f"--compare {run}: it was trained on other features, and keeps no evaluation on the images "
                f"of {cache} for these weights; evaluate it first, on a cache of its own features"
            ) from error
        log.info("--compare %s: trained on other features; taken from %s", run, kept.path)
        read = OtherDetections(run, weights, _read(kept), kept.of.get("annotations", ""))
        return lambda: read

    def found() -> OtherDetections:
        done = detected(run, cache, theirs)
        return OtherDetections(run, weights, done.results, done.digest)

    return found


def _options_for(run: Path, options: EvaluateOptions) -> EvaluateOptions:
    """Return the options for another run, without those that only the first one needs."""
    info = read_detector(run)
    return replace(
        options,
        compare=None,
        images=options.images if info.own_backbone or is_exported(run) else None,
        second=options.second if info.second is not None else None,
        weights=options.weights if info.config.backbone.adapters else None,
    )


def _kept(run: Path, cache: Path, weights: str) -> KeptEvaluation | None:
    images = digests_of(cache)["images"]
    wanted = {"weights": weights, "images": images}
    return next((k for k in kept_evaluations(run) if images and k.is_of(wanted)), None)


def _read(kept: KeptEvaluation) -> list[dict[str, Any]]:
    """Return the detections of a kept evaluation. Raises CorruptCache, StorageError."""
    path = kept.detections
    raw = read_below(path.parent, path.name, MAX_BYTES)
    if kept.of.get("detections") != hashlib.sha256(raw).hexdigest():
        raise CorruptCache(f"{path}: its bytes are not those that {kept.path.name} names")
    try:
        return [_result(one) for one in list_of(json.loads(raw))]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CorruptCache(f"{path}: not detections in COCO's format ({error!r:.200})") from error


def _result(value: Any) -> dict[str, Any]:
    """Return a detection in COCO's result format, without its mask.

    Raises KeyError, TypeError, ValueError for anything else.
    """
    one = mapping_of(value)
    x, y, width, height = list_of(one["bbox"])
    corner = [number_of(side, -_FAR, _FAR) for side in (x, y)]
    return {
        "image_id": whole_of(one["image_id"]),
        "category_id": whole_of(one["category_id"]),
        "bbox": corner + [number_of(side, 0, _FAR) for side in (width, height)],
        "score": number_of(one["score"], 0, 1),
    }


def compared(done: Detected, other: OtherDetections) -> Comparison:
    """Return how much better detections are than those of another run. Raises InputError."""
    if other.annotations != done.digest:
        raise InputError(
            f"--compare {other.run}: its kept evaluation is of other annotations of these images; evaluate "
            "it on the same, with --annotations"
        )
    names, ids = unique_names(done.annotations), sorted(done.found)
    if not {result["image_id"] for result in other.results} <= set(ids):
        raise InputError(
            f"--compare {other.run}: its kept evaluation has detections in other images; evaluate it again"
        )
    mine, theirs = (resampled_ap(done.annotations, ids, r) for r in (done.results, other.results))
    per_class = dict(zip(names, theirs.per_class, strict=True))
    difference = paired_difference([(mine, theirs)], names)
    return Comparison(str(other.run), other.weights, theirs.ap, per_class, difference)
