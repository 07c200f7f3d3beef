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
    images = {image_id: k for k, image_id in enumerate(image_ids, start=1)}
    classes = {c["id"]: k for k, c in enumerate(truth["categories"], start=1)}
    truth = {
        **truth,
        "images": [{**image, "id": images[image["id"]]} for image in truth["images"]],
        "categories": [{**c, "id": classes[c["id"]]} for c in truth["categories"]],
        "annotations": _renumbered(truth["annotations"], images, classes),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        indexed = _indexed(coco, truth)
        found = (
            indexed.loadRes(_renumbered(results, images, classes))
            if results
            else _indexed(coco, _empty(truth))
        )
        counted = count(indexed, found, of)
        counted.params.imgIds = list(images.values())
        counted.params.maxDets = sorted({1, 10, MAX_DETECTIONS, max_detections})
        counted.evaluate()
        counted.accumulate()
    return counted


def _renumbered(
    rows: Sequence[dict[str, Any]], images: Mapping[int, int], classes: Mapping[int, int]
) -> list[dict[str, Any]]:
    """Return copies with small ids: the engines keep ids as floats, which large ones do not survive."""
    return [
        {**r, "image_id": images[r["image_id"]], "category_id": classes[r["category_id"]]}
        for r in rows
    ]


def _indexed(coco: Any, dataset: dict[str, Any]) -> Any:
    index = coco()
    index.dataset = dataset
    index.createIndex()
    return index


def _empty(dataset: dict[str, Any]) -> dict[str, Any]:
    return {**dataset, "annotations": []}
