"""COCO average precision over exactly the images that were looked at."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...heads.types import Detections
from ..dataset.annotations import Annotations
from .engines import FASTEST, evaluated
from .errors import ErrorBreakdown

# The order in which COCO's evaluation summarises.
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
    """COCO's figures, 0 to 1; None where no object counts. per_class: AP by class name. errors: where
    they were asked for.
    """

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
    errors: ErrorBreakdown | None = None

    def to_json(self) -> dict[str, Any]:
        """By name; "errors" only where there are any."""
        values = asdict(self)
        if self.errors is None:
            del values["errors"]
        return values


def coco_metrics(
    annotations: Annotations, found: Mapping[int, Detections], engine: str = FASTEST
) -> Metrics:
    """Scores detections, in image px, over exactly the images that `found` names; at most 100 count
    an image. engine: one of ENGINES.
    """
    image_ids = sorted(found)
    truth = _ground_truth(annotations, image_ids)
    results = to_coco_results(found, annotations.class_ids)
    evaluation = evaluated(engine, truth, results, image_ids)
    figures = [_present(v) for v in evaluation.stats[: len(FIGURES)]]
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    per_class = {}
    for k, name in enumerate(unique_names(annotations)):
        values = precision[:, :, k]
        values = values[values > -1]
        per_class[name] = float(values.mean()) if values.size else None
    named = dict(zip(FIGURES, figures, strict=True))
    return Metrics(**named, per_class=per_class, images=len(image_ids), errors=None)


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


def _ground_truth(annotations: Annotations, image_ids: Sequence[int]) -> dict[str, Any]:
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
        "images": [{"id": image_id} for image_id in image_ids],
        "annotations": rows,
        "categories": [{"id": class_id, "name": name} for class_id, name in classes],
    }


def _present(value: float) -> float | None:
    """COCO's evaluation says -1 where nothing counts."""
    return None if value < 0 or math.isnan(value) else float(value)
