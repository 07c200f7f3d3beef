"""The engines that compute AP: faster-coco-eval, and pycocotools as the reference, with equal figures."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Literal

# For each name, (module, class) of the index of a data set and of its evaluation.
ENGINES: Mapping[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "faster-coco-eval": (("faster_coco_eval", "COCO"), ("faster_coco_eval", "COCOeval_faster")),
    "pycocotools": (("pycocotools.coco", "COCO"), ("pycocotools.cocoeval", "COCOeval")),
}
FASTEST = "faster-coco-eval"
# The maximum number of detections that COCO counts for a class and an image.
MAX_DETECTIONS = 100


def evaluated(
    engine: str,
    truth: dict[str, Any],
    results: Sequence[dict[str, Any]],
    image_ids: Sequence[int],
    max_detections: int = MAX_DETECTIONS,
    of: Literal["bbox", "segm"] = "bbox",
) -> Any:
    """Return the engine's evaluation of boxes or masks.

    Its .eval["precision"] (T, R, K, A, M) and .eval["recall"] (T, K, A, M) are by overlap, recall, class,
    range of areas (all, small, medium, large) and the maximum number of detections that count for a class
    and an image, .params.maxDets; they are -1 where there is no object.

    max_detections: the last of these maxima. truth: a data set in COCO's format. results: detections in
    COCO's result format. Neither is changed.
    """
    (module, index), (other, evaluation) = ENGINES[engine]
    coco, count = getattr(import_module(module), index), getattr(import_module(other), evaluation)
    with contextlib.redirect_stdout(io.StringIO()):
        indexed = _indexed(coco, truth)
        found = (
            indexed.loadRes([dict(result) for result in results])
            if results
            else _indexed(coco, _empty(truth))
        )
        counted = count(indexed, found, of)
        counted.params.imgIds = list(image_ids)
        counted.params.maxDets = sorted({1, 10, MAX_DETECTIONS, max_detections})
        counted.evaluate()
        counted.accumulate()
    return counted


def _indexed(coco: Any, dataset: dict[str, Any]) -> Any:
    index = coco()
    index.dataset = dataset
    index.createIndex()
    return index


def _empty(dataset: dict[str, Any]) -> dict[str, Any]:
    return {**dataset, "annotations": []}
