"""The errors that keep average precision down, in the sense of TIDE (Bolya et al., arXiv 2008.08115).

Each wrong detection has one reason, and each reason is worth what AP50 would gain without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import box_iou

from ...heads.types import Detections
from ..dataset.annotations import Annotations, ImageBoxes
from ..dataset.classes.long_tail import known_classes
from .engines import MAX_DETECTIONS
from .lvis import LVIS_DETECTIONS

FOREGROUND, BACKGROUND = 0.5, 0.1
KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
# The ranges of scores in which hits are counted.
BINS = 10
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True)
class ErrorBreakdown:
    """The number of errors of each kind, and what AP50 would gain without them.

    ap50: AP at an overlap of 0.5; None where no object counts. counts: the number of errors of each of
    KINDS. gains: by how much ap50 would be higher if the errors of that kind alone were corrected.

    A detection that is not a hit overlaps an object of its own class by 0.1 to 0.5 ("localisation"), or
    one of another class by 0.5 or more ("classification"), or one of its own class that a better detection
    has taken ("duplicate"), or nothing by more than 0.1 ("background"); otherwise it is wrong in "both".
    "missed" are objects that no detection took, and that none would take with a better box or class.

    reliability: the detections whose scores are in each tenth of 0 to 1: how many count, their mean score,
    and the share of them that are hits.
    """

    ap50: float | None
    counts: Mapping[str, int]
    gains: Mapping[str, float]
    reliability: tuple[tuple[int, float, float], ...] = ()


@dataclass(slots=True)
class _Image:
    """The detections of an image, best first, and its objects.

    hits: the object that each detection hits (-1: none). ignored: whether it does not count, as in crowds.
    kinds: why it is wrong ("": it is not). meant: the object that it was meant for (-1: none).
    """

    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    hits: npt.NDArray[np.int64]
    ignored: npt.NDArray[np.bool_]
    kinds: list[str]
    meant: npt.NDArray[np.int64]
    objects: npt.NDArray[np.int64]  # the classes of the objects that count
    missed: list[int] = field(default_factory=list)


def error_breakdown(annotations: Annotations, found: Mapping[int, Detections]) -> ErrorBreakdown:
    """Return the errors of detections in image px, over the images that `found` names.

    Detections are counted by the rules of LVIS where the annotations are those of LVIS.
    """
    images = [_of_image(annotations, i, d) for i, d in sorted(found.items())]
    classes = range(len(annotations.class_ids))
    before = _ap(images, classes, "")
    counts = {kind: sum(image.kinds.count(kind) for image in images) for kind in KINDS}
    counts["missed"] = sum(len(image.missed) for image in images)
    if before is None:
        return ErrorBreakdown(None, counts, dict.fromkeys(KINDS, 0.0))
    gains = {kind: (_ap(images, classes, kind) or 0.0) - before for kind in KINDS}
    return ErrorBreakdown(before, counts, gains, _reliability(images))


def _reliability(images: Sequence[_Image]) -> tuple[tuple[int, float, float], ...]:
    """Return the number, the mean score and the share of hits of the detections in each tenth of scores."""
    counted = [~image.ignored for image in images]
    scores = np.concatenate([i.scores[c] for i, c in zip(images, counted, strict=True)])
    hits = np.concatenate([i.hits[c] >= 0 for i, c in zip(images, counted, strict=True)])
    tenth = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    number = np.bincount(tenth, minlength=BINS)
    means = [np.bincount(tenth, v, BINS) / np.maximum(1, number) for v in (scores, hits)]
    return tuple(zip(number.tolist(), *(mean.tolist() for mean in means), strict=True))


def _of_image(annotations: Annotations, image_id: int, found: Detections) -> _Image:
    objects, d = annotations.of_image(image_id), _best_first(found)
    if annotations.coverage is None:
        return _matched(objects, d[:MAX_DETECTIONS])
    d = d[:LVIS_DETECTIONS]
    known = torch.from_numpy(known_classes(annotations, image_id))
    return _matched(objects, d[known[d.labels]], annotations.coverage[image_id].partial)


def _best_first(found: Detections) -> Detections:
    return found[found.scores.argsort(descending=True, stable=True)]


def _matched(objects: ImageBoxes, d: Detections, partial: Sequence[int] = ()) -> _Image:
    """Match an image's detections to its objects.

    partial: the classes of which not every object is known.
    """
    crowd = np.asarray(objects.crowd, dtype=bool)
    classes = np.asarray(objects.labels)[~crowd]
    boxes = torch.from_numpy(np.asarray(objects.boxes, dtype=np.float64))
    iou = box_iou(d.boxes.double(), boxes[~torch.from_numpy(crowd)]).numpy()
    labels = d.labels.numpy()
    same = labels[:, None] == classes[None]
    hits = _hits(iou, same)
    within = _within_crowds(d, boxes[torch.from_numpy(crowd)], np.asarray(objects.labels)[crowd])
    image = _Image(
        d.scores.double().numpy(),
        labels,
        hits,
        (hits < 0) & (within | np.isin(labels, partial)),
        [""] * len(labels),
        np.full(len(labels), -1),
        classes,
    )
    for k in np.flatnonzero((hits < 0) & ~image.ignored):
        image.kinds[k], image.meant[k] = _reason(iou[k], same[k])
    reached = {*hits.tolist(), *image.meant.tolist()}
    image.missed = [k for k in range(len(classes)) if k not in reached]
    return image


def _hits(iou: npt.NDArray[np.float64], same: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the object that each detection takes (-1: none).

    It is the object of the same class with the greatest overlap among those that are left.
    """
    free = np.where(same, iou, -1.0)
    hits = np.full(len(iou), -1)
    for k in range(len(iou)):
        if free.shape[1] and free[k].max() >= FOREGROUND:
            hits[k] = free[k].argmax()
            free[:, hits[k]] = -1.0
    return hits


def _within_crowds(
    found: Detections, crowds: torch.Tensor, classes: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Return whether at least half of each detection lies in a crowd of its class, as COCO defines it."""
    boxes = found.boxes.double()
    near = torch.maximum(boxes[:, None, :2], crowds[None, :, :2])
    far = torch.minimum(boxes[:, None, 2:], crowds[None, :, 2:])
    overlap = (far - near).clamp(min=0).prod(dim=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1, keepdim=True).clamp(min=1e-12)
    inside = (overlap / area).numpy() >= FOREGROUND
    within: npt.NDArray[np.bool_] = (inside & (found.labels.numpy()[:, None] == classes[None])).any(
        axis=1
    )
    return within


def _reason(iou: npt.NDArray[np.float64], same: npt.NDArray[np.bool_]) -> tuple[str, int]:
    """Return why a detection is wrong, and which object it was meant for (-1: none)."""
    own, other = np.where(same, iou, 0.0), np.where(same, 0.0, iou)
    if not len(iou) or iou.max() <= BACKGROUND:
        return "background", -1
    if BACKGROUND <= own.max() < FOREGROUND:
        return "localisation", int(own.argmax())
    if other.max() >= FOREGROUND:
        return "classification", int(other.argmax())
    if own.max() >= FOREGROUND:
        return "duplicate", -1
    return "both", -1


def _ap(images: Sequence[_Image], classes: Iterable[int], corrected: str) -> float | None:
    """Return the classes' mean AP at an overlap of 0.5, with the errors of one kind corrected."""
    rows: dict[int, list[tuple[float, bool]]] = {}
    objects: dict[int, int] = {}
    for image in images:
        gone = set(image.missed) if corrected == "missed" else set()
        for k, label in enumerate(image.objects.tolist()):
            objects[label] = objects.get(label, 0) + (k not in gone)
        taken = set(image.hits[image.hits >= 0].tolist())
        for k, (score, label) in enumerate(
            zip(image.scores.tolist(), image.labels.tolist(), strict=True)
        ):
            hit = bool(image.hits[k] >= 0)
            if image.ignored[k]:
                continue
            if image.kinds[k] == corrected and not hit:
                target = int(image.meant[k])
                if target < 0 or target in taken:
                    continue  # corrected by leaving the detection out
                taken.add(target)
                hit, label = True, int(image.objects[target])
            rows.setdefault(label, []).append((score, hit))
    each = [_class_ap(rows.get(k, []), objects[k]) for k in classes if objects.get(k)]
    return float(np.mean(each)) if each else None


def _class_ap(rows: Sequence[tuple[float, bool]], objects: int) -> float:
    """Return a class's AP as COCO defines it.

    It is the mean over 101 recalls of the best precision at that recall or a higher one.
    """
    if not rows:
        return 0.0
    scores, hits = (np.array(x) for x in zip(*rows, strict=True))
    hits = hits[np.argsort(-scores, kind="stable")]
    right = np.cumsum(hits)
    recall, precision = right / objects, right / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    positions = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.append(best, 0.0)[positions].mean())
