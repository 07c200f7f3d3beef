"""Finds of another class on an object that is found already, which NMS over all classes would drop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...heads.types import Detections
from ..runs.threshold_option import DRAWN
from .matching import Bools, Floats, Ints, Matches, overlaps
from .scores import ScoreFigures

# The overlap from which on two finds are in one place.
SAME_PLACE = 0.7


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The detections above the thresholds of their classes that NMS over all classes would drop.

    finds: the number of all detections above the thresholds. wrong: those that hit no object and lie, by an
    IoU of 0.7 or more, on a better one of another class that hits one. right: those that hit an object and
    would be dropped all the same, since they overlap a better one of another class.
    """

    finds: int
    wrong: int
    right: int


def find_duplicates(
    matches: Sequence[Matches],
    found: Mapping[int, Detections],
    scored: ScoreFigures,
    nms_iou: float,
) -> Duplicates:
    """Count the duplicates across classes.

    matches: those of `found`, in the order of the images' ids. scored: has the thresholds; a class without
    one takes 0.3. nms_iou: head.nms_iou, up to which NMS leaves boxes alone.
    """
    limits = [s.threshold for s in scored.classes.values()]
    least = np.array([DRAWN if limit is None else limit for limit in limits], dtype=np.float64)
    counts = np.zeros(3, dtype=np.int64)
    for m, (_, d) in zip(matches, sorted(found.items()), strict=True):
        kept = (m.scores >= least[m.labels]) & ~m.ignored
        boxes = d.boxes.double().numpy()[m.given[kept]]
        counts += _of_image(boxes, m.labels[kept], m.hits[kept] >= 0, nms_iou)
    finds, wrong, right = counts.tolist()
    return Duplicates(finds, wrong, right)


def _of_image(boxes: Floats, labels: Ints, hits: Bools, nms_iou: float) -> tuple[int, int, int]:
    """Return the numbers of finds, and of those that are duplicates, wrong and right. boxes: best first."""
    iou = overlaps(boxes, boxes)
    better = np.tri(len(boxes), k=-1, dtype=bool) & (labels[:, None] != labels[None])
    wrong = ~hits & (better & hits[None] & (iou >= max(SAME_PLACE, nms_iou))).any(axis=1)
    right = hits & (better & (iou > nms_iou)).any(axis=1)
    return len(boxes), int(wrong.sum()), int(right.sum())
