"""COCO average precision over exactly the images that a cache holds, by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..cache.errors import InputError
from ..cache.header import CacheHeader
from ..cache.publish import publish_bytes
from ..cache.sampler import SampleId, plain_batches
from ..heads.detector import Detector
from ..heads.types import Detections
from .annotations import Annotations
from .data import open_cached, open_live
from .devices import Precision, autocast, pick_device, use_threads
from .progress import progress_line
from .run import RunInfo, load_model, load_run
from .sources import PyramidSource

log = logging.getLogger(__name__)


# The order in which pycocotools summarises.
FIGURES = (
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ar1",
    "ar10",
    "ar100",
    "ar_small",
    "ar_medium",
    "ar_large",
)


@dataclass(frozen=True, slots=True)
class Metrics:
    """COCO's figures, 0 to 1; None where no object counts. per_class: AP by class name."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar1: float | None
    ar10: float | None
    ar100: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None
    per_class: Mapping[str, float | None]
    images: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def evaluate_run(
    run: Path,
    cache: Path,
    *,
    annotations: Path | None = None,
    images: Path | None = None,
    checkpoint: str = "best",
    device: str = "auto",
    threads: int | None = None,
) -> tuple[Metrics, list[dict[str, Any]]]:
    """Score a run on a cache, plain view; also the detections in COCO's result format.

    images: the folder that the cache was made from, for a run that trained its own backbone: the
    cache then says only which images, and how they become canvases. checkpoint: "best" or "last".
    Raises InputError, KeyMismatch (the cache holds other features), CorruptCache.
    """
    on = pick_device(device)
    use_threads(threads)
    info, header = RunInfo.read(run), CacheHeader.read(cache)
    settings = info.config.train
    for difference in info.check_pairs(header, cache):
        log.warning("the run and %s differ in %s", cache, difference)
    if images is None:
        detector = load_run(run, checkpoint, on)[1]
        data = open_cached(
            [cache], annotations, on, workers=settings.workers, prefetch=settings.prefetch
        )
    elif info.trains_backbone:
        canvases = [bucket.canvas_hw for bucket in header.layout.buckets]
        model = load_model(run, checkpoint, on, canvases)[1]
        assert model.backbone is not None
        detector = model.detector
        data = open_live(cache, annotations, images, model.backbone, settings.workers)
    else:
        raise InputError(f"--images: {run} is evaluated on cached maps and needs no images")
    info.check_classes(data.annotations, f"annotations of {cache}")
    batches = plain_batches(header.layout, data.image_ids, settings.batch_size)
    found = detect(detector, data.source, batches, settings.precision)
    results = to_coco_results(found, data.annotations.class_ids)
    return coco_metrics(data.annotations, found), results


def detect(
    detector: Detector,
    source: PyramidSource,
    batches: Sequence[Sequence[SampleId]],
    precision: Precision = "fp32",
    shown: bool = True,
) -> dict[int, Detections]:
    """What the detector finds in each sample, by image id; image px, on the CPU.

    The detector is to be in eval mode, and the source's backbone too. shown: with a progress line.
    """
    found: dict[int, Detections] = {}
    device = next(detector.parameters()).device
    total = sum(map(len, batches))
    with torch.no_grad(), progress_line("evaluate", total, shown=shown) as progress:
        for samples, placements, pyramid in source.load(batches):
            with autocast(device, precision):
                detections = detector.detections(pyramid(), placements)
            for (image_id, _), d in zip(samples, detections, strict=True):
                found[image_id] = Detections(d.boxes.cpu(), d.scores.cpu(), d.labels.cpu())
            progress.note(f"{progress.rate:.1f} images/s")
            progress.advance(len(samples))
    return found


def coco_metrics(annotations: Annotations, found: Mapping[int, Detections]) -> Metrics:
    """Scores detections over exactly the images that `found` names; at most 100 count an image."""
    image_ids = sorted(found)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _coco(_ground_truth(annotations, image_ids))
        results = to_coco_results(found, annotations.class_ids)
        guesses = (
            truth.loadRes(results) if results else _coco(_ground_truth(annotations, [], image_ids))
        )
        evaluation = COCOeval(truth, guesses, "bbox")
        evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    figures = [_present(v) for v in evaluation.stats]
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    per_class = {}
    for k, name in enumerate(unique_names(annotations)):
        values = precision[:, :, k]
        values = values[values > -1]
        per_class[name] = float(values.mean()) if values.size else None
    named = dict(zip(FIGURES, figures, strict=True))
    return Metrics(**named, per_class=per_class, images=len(image_ids))


def unique_names(annotations: Annotations) -> list[str]:
    """Class names; those that stand twice are told apart by their ids."""
    count = Counter(annotations.class_names)
    classes = zip(annotations.class_names, annotations.class_ids, strict=True)
    return [name if count[name] == 1 else f"{name} ({class_id})" for name, class_id in classes]


def to_coco_results(
    found: Mapping[int, Detections], class_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """COCO's result format: bbox [x, y, width, height] in image px, category ids of the data set."""
    results = []
    for image_id, d in found.items():
        boxes = d.boxes.double().numpy()
        boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        rows = zip(boxes.tolist(), d.scores.tolist(), d.labels.tolist(), strict=True)
        for box, score, label in rows:
            results.append(
                {"image_id": image_id, "category_id": class_ids[label], "bbox": box, "score": score}
            )
    return results


def _ground_truth(
    annotations: Annotations, image_ids: Sequence[int], empty: Sequence[int] = ()
) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for image_id in image_ids:
        objects = annotations.of_image(image_id)
        for k in range(len(objects)):
            x1, y1, x2, y2 = objects.boxes[k].tolist()
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": image_id,
                    "category_id": annotations.class_ids[int(objects.labels[k])],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(objects.area[k]),
                    "iscrowd": int(objects.crowd[k]),
                }
            )
    classes = zip(annotations.class_ids, annotations.class_names, strict=True)
    return {
        "images": [{"id": image_id} for image_id in [*image_ids, *empty]],
        "annotations": rows,
        "categories": [{"id": class_id, "name": name} for class_id, name in classes],
    }


def _coco(dataset: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _present(value: float) -> float | None:
    """pycocotools says -1 where nothing counts."""
    return None if value < 0 or math.isnan(value) else float(value)


def metrics_table(metrics: Metrics) -> str:
    """The figures for people, in points of 0 to 100 as papers print them."""
    named = metrics.to_json()
    per_class = named.pop("per_class")
    images = named.pop("images")
    lines = [f"{images} images"]
    lines += [f"{name.upper().replace('_', ' '):<12} {_points(v)}" for name, v in named.items()]
    lines += [f"AP of {name!r}: {_points(v)}" for name, v in per_class.items()]
    return "\n".join(lines)


def write_evaluation(
    folder: Path, cache: Path, metrics: Metrics, results: Sequence[dict[str, Any]]
) -> Path:
    """evaluation-<cache>.json and detections-<cache>.json; an older one is replaced."""
    name = cache.resolve().name.removesuffix(".fdet")
    path = folder / f"evaluation-{name}.json"
    publish_bytes(path, json.dumps(metrics.to_json(), indent=2).encode(), existing="replace")
    detections = folder / f"detections-{name}.json"
    publish_bytes(detections, json.dumps(list(results)).encode(), existing="replace")
    return path


def _points(value: float | None) -> str:
    return "   -" if value is None else f"{100 * value:5.1f}"
