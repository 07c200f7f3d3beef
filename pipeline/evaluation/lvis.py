"""The rules of LVIS (Gupta et al., arXiv 1908.03195), as a COCO evaluation of other detections and objects.

In this form every engine can count by them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..dataset.annotations import Annotations
from ..dataset.classes.long_tail import known_classes

log = logging.getLogger(__name__)

# The maximum number of detections that count for an image.
LVIS_DETECTIONS = 300


def warn_of_few_detections(annotations: Annotations, max_detections: int) -> None:
    """Log a warning where a head gives fewer detections than LVIS counts."""
    if annotations.coverage is not None and max_detections < LVIS_DETECTIONS:
        log.warning(
            "LVIS counts %d detections of an image, and the head gives at most %d; set "
            "head.max_detections=%d",
            LVIS_DETECTIONS,
            max_detections,
            LVIS_DETECTIONS,
        )


def counted(annotations: Annotations, results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results, in COCO's format, that count by the rules of LVIS.

    They are the 300 best of each image, without those of classes that were not looked for in it.
    """
    label = {class_id: k for k, class_id in enumerate(annotations.class_ids)}
    known = {i: known_classes(annotations, i) for i in {r["image_id"] for r in results}}
    seen: Counter[int] = Counter()
    most, kept = LVIS_DETECTIONS * annotations.tiles, []
    for result in sorted(results, key=lambda r: -r["score"]):
        image_id = result["image_id"]
        seen[image_id] += 1
        if seen[image_id] <= most and known[image_id][label[result["category_id"]]]:
            kept.append(result)
    return kept


def with_partial(annotations: Annotations, truth: dict[str, Any]) -> dict[str, Any]:
    """Return a data set in COCO's format, with a crowd for each class that an image labels only in part.

    The crowd covers all of the image, so that detections of the class that match no object do not count.
    """
    assert annotations.coverage is not None
    rows = list(truth["annotations"])
    for image in truth["images"]:
        height, width = image["height"], image["width"]
        for label in annotations.coverage[image["id"]].partial:
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": image["id"],
                    "category_id": annotations.class_ids[label],
                    # Larger than the image, as detections may reach beyond it.
                    "bbox": [-width, -height, 3 * width, 3 * height],
                    "segmentation": {"size": [height, width], "counts": [0, height * width]},
                    "area": height * width,
                    "iscrowd": 1,
                }
            )
    return {**truth, "annotations": rows}
