"""The detections of an image matched to its objects, at an overlap of 0.5 and by COCO's rules, in numpy.

Curves, thresholds, the confusion matrix and the breakdown of errors all start from these matches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...heads.types import Detections
from ..dataset.annotations import Annotations, ImageBoxes
from ..dataset.classes.long_tail import known_classes
from .engines import MAX_DETECTIONS
from .lvis import LVIS_DETECTIONS

# The overlap (intersection over union) from which on a detection can take an object.
FOREGROUND = 0.5

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """The D detections of an image that count, best first, and its N objects that are no crowds.

    scores, labels: (D,). given: (D,), the position of each among the detections that were given. iou: (D,
    N), the overlaps. hits: (D,), the object of the same class that each detection takes, -1 for none.
    ignored: (D,) bool, the detections that are neither right nor wrong, as in crowds. objects: (N,), the
    classes of the objects. rows: (N,), their positions among all objects of the image.
    """

    scores: Floats
    labels: Ints
    given: Ints
    iou: Floats
    hits: Ints
    ignored: Bools
    objects: Ints
    rows: Ints


def all_matches(annotations: Annotations, found: Mapping[int, Detections]) -> list[Matches]:
    """Match the detections, in image px, of the images that `found` names, in the order of their ids.

    At most 100 detections of a class and an image count. By the rules of LVIS, for its annotations, 300 of
    an image do, and only those of classes that were looked for there. Each tile counts as an image here.
    """
    return [_of_image(annotations, image_id, d) for image_id, d in sorted(found.items())]


def _of_image(annotations: Annotations, image_id: int, found: Detections) -> Matches:
    objects = annotations.of_image(image_id)
    scores, labels = found.scores.double().numpy(), found.labels.numpy()
    order = np.argsort(-scores, kind="stable")
    partial: Sequence[int] = ()
    if annotations.coverage is None:
        order = order[_ranks(labels[order]) < MAX_DETECTIONS * annotations.tiles]
    else:
        order = order[: LVIS_DETECTIONS * annotations.tiles]
        order = order[known_classes(annotations, image_id)[labels[order]]]
        partial = annotations.coverage[image_id].partial
    return matched(found.boxes.double().numpy(), scores, labels, objects, order, partial)


def matched(
    boxes: Floats,
    scores: Floats,
    labels: Ints,
    objects: ImageBoxes,
    order: Ints | None = None,
    partial: Sequence[int] = (),
) -> Matches:
    """Match detections to the objects of their image.

    boxes: (M, 4) xyxy image px, with scores and labels (M,). order: (D,), the positions of those that count,
    best first; None for all. partial: the classes of which not every object is known.
    """
    if order is None:
        order = np.argsort(-scores, kind="stable")
    boxes, labels = boxes[order], labels[order]
    truth, crowd = np.asarray(objects.boxes, dtype=np.float64), np.asarray(objects.crowd, bool)
    classes = np.asarray(objects.labels)
    iou = overlaps(boxes, truth[~crowd])
    hits = _hits(iou, labels[:, None] == classes[~crowd][None])
    inside = shares_within(boxes, truth[crowd]) >= FOREGROUND
    in_crowds = (inside & (labels[:, None] == classes[crowd][None])).any(axis=1)
    return Matches(
        scores[order],
        labels,
        order,
        iou,
        hits,
        (hits < 0) & (in_crowds | np.isin(labels, partial)),
        classes[~crowd],
        np.flatnonzero(~crowd),
    )


def overlaps(boxes: Floats, others: Floats) -> Floats:
    """Return the intersection over union of each two of (D, 4) and (N, 4) boxes xyxy: (D, N)."""
    common = _intersections(boxes, others)
    union = _areas(boxes)[:, None] + _areas(others)[None] - common
    return common / np.maximum(union, 1e-12)


def shares_within(boxes: Floats, regions: Floats) -> Floats:
    """Return which share of each of (D, 4) boxes xyxy lies in each of (M, 4) regions: (D, M)."""
    return _intersections(boxes, regions) / np.maximum(_areas(boxes), 1e-12)[:, None]


def _intersections(boxes: Floats, others: Floats) -> Floats:
    near = np.maximum(boxes[:, None, :2], others[None, :, :2])
    far = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides = np.clip(far - near, 0, None)
    return np.asarray(sides[..., 0] * sides[..., 1])


def _areas(boxes: Floats) -> Floats:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _hits(iou: Floats, same: Bools) -> Ints:
    """Return the object that each detection takes (-1: none).

    It is the object of the same class with the greatest overlap among those that are left.
    """
    free = np.where(same, iou, -1.0)
    hits = np.full(len(iou), -1)
    for k in np.flatnonzero((free >= FOREGROUND).any(axis=1)):
        best = int(free[k].argmax())
        if free[k, best] >= FOREGROUND:
            hits[k] = best
            free[:, best] = -1.0
    return hits


def _ranks(labels: Ints) -> Ints:
    """Return how many equal labels stand before each label."""
    order = np.argsort(labels, kind="stable")
    sorted_labels = labels[order]
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[order] = np.arange(len(labels)) - np.searchsorted(sorted_labels, sorted_labels)
    return ranks
