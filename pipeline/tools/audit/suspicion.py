"""Labels that heads which have not seen them disagree with, and how much: 0 to 1.

Every label and every detection stands for one suspicion at most, the strongest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...dataset.annotations import ImageBoxes
from ...evaluation.matching import Bools, Floats, Ints, overlaps, shares_within
from .confidence import Confidence

Kind = Literal["wrong class", "missed object", "invented box", "badly placed box"]
MISSED: Kind = "missed object"
KINDS: tuple[Kind, ...] = ("wrong class", MISSED, "invented box", "badly placed box")

# The overlap from which on a detection is on the place of an object, and from which on its box agrees.
PLACE, AGREES = 0.5, 0.6
# The overlap from which on a detection may mean an object. Below it, it means another one or none.
NEAR = 0.3
# With how many objects of its class and nearly its size an object is compared.
_ALIKE = 50


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """An image, its labels, and what a head found that has not seen them.

    objects: without crowds. crowds: (M, 4). boxes, scores, labels: the detections. looked_for: (K,) bool, the
    classes that the image was labelled for; whole: (K,) bool, those of which all objects are labelled.
    judged: (K,) bool, the classes that the head could learn. All boxes are xyxy in image px.
    """

    image_id: int
    objects: ImageBoxes
    crowds: Floats
    boxes: Floats
    scores: Floats
    labels: Ints
    looked_for: Bools
    whole: Bools
    judged: Bools


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A label that is probably wrong, or one that is missing.

    score: how strong the suspicion is, 0 to 1. row: the object's position among those of the image that are
    no crowds, None for one that has no label. found: the position of the detection that disagrees, None where
    nothing was found.
    """

    kind: Kind
    score: float
    image_id: int
    row: int | None
    found: int | None


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    """An image with what all rules need.

    sure: (D,), the confidence of each detection. iou: (D, N). same: (D, N), whether the classes agree. best:
    (D,), the object that each detection overlaps most, -1 without objects. most: (D,), that overlap.
    """

    seen: Seen
    sure: Floats
    iou: Floats
    same: Bools
    best: Ints
    most: Floats

    def support(self, allowed: Bools) -> Floats:
        """Return the greatest confidence of the allowed detections (D, N) of each object: (N,)."""
        return np.asarray(np.where(allowed, self.sure[:, None], 0.0).max(axis=0, initial=0.0))


def suspicions(images: Sequence[Seen], confidence: Sequence[Confidence]) -> list[Suspicion]:
    """Return the suspicions of all images, the strongest first. confidence: that of each class."""
    prepared = [_prepared(seen, confidence) for seen in images]
    found_at_all = [_found_at_all(image) for image in prepared]
    expected = _expected(prepared, found_at_all)
    found: list[Suspicion] = []
    for image, there, usual in zip(prepared, found_at_all, expected, strict=True):
        candidates = [c for rule in _RULES for c in rule(image)]
        candidates += _invented(image, there, usual)
        found += _strongest(candidates)
    return sorted(found, key=lambda s: -s.score)


def first_of_each(listed: Sequence[Suspicion], count: int) -> list[Suspicion]:
    """Return at most `count` suspicions of each kind, the first ones, in their order.

    So labels that are missing everywhere do not drive out those that are wrong.
    """
    seen: Counter[str] = Counter()
    kept = []
    for each in listed:
        seen[each.kind] += 1
        if seen[each.kind] <= count:
            kept.append(each)
    return kept


def _prepared(seen: Seen, confidence: Sequence[Confidence]) -> _Image:
    sure = np.zeros(len(seen.scores))
    for label in np.unique(seen.labels):
        own = seen.labels == label
        sure[own] = confidence[label].of(seen.scores[own])
    iou = overlaps(seen.boxes, seen.objects.boxes)
    same = seen.labels[:, None] == seen.objects.labels[None]
    some = iou.shape[1] > 0
    best = iou.argmax(axis=1) if some else np.full(len(iou), -1)
    return _Image(seen, sure, iou, same, best, iou.max(axis=1, initial=0.0))


def _wrong_class(image: _Image) -> Iterator[Suspicion]:
    """Yield objects on whose place a detection of another class is, and none of their own."""
    seen, own = image.seen, image.support(image.same & (image.iou >= PLACE))
    for k in np.flatnonzero((image.most >= PLACE) & seen.looked_for[seen.labels]):
        row = int(image.best[k])
        if not image.same[k, row] and not _is_of_another(image, int(k)):
            score = image.sure[k] * (1 - own[row])
            yield Suspicion("wrong class", float(score), seen.image_id, row, int(k))


def _badly_placed(image: _Image) -> Iterator[Suspicion]:
    """Yield objects near which a detection of their class is, and none whose box agrees."""
    seen, tight = image.seen, image.support(image.same & (image.iou >= AGREES))
    for k in np.flatnonzero((image.most >= NEAR) & (image.most < AGREES)):
        row = int(image.best[k])
        if image.same[k, row]:
            # Boxes that overlap by half or more are half right.
            off = min(1.0, (AGREES - image.most[k]) / (AGREES - PLACE))
            score = image.sure[k] * (1 - tight[row]) * off
            yield Suspicion("badly placed box", float(score), seen.image_id, row, int(k))


def _missed(image: _Image) -> Iterator[Suspicion]:
    """Yield detections on no object, except those on a better one of these."""
    seen = image.seen
    in_crowd = (shares_within(seen.boxes, seen.crowds) >= PLACE).any(axis=1)
    free = (image.most < NEAR) & ~in_crowd & seen.whole[seen.labels]
    taken: list[int] = []
    for k in sorted(np.flatnonzero(free).tolist(), key=lambda k: -image.sure[k]):
        if not taken or overlaps(seen.boxes[[k]], seen.boxes[taken]).max() < PLACE:
            taken.append(k)
            yield Suspicion("missed object", float(image.sure[k]), seen.image_id, None, k)


def _invented(image: _Image, there: Floats, usual: Floats) -> Iterator[Suspicion]:
    """Yield objects where nothing is found, though objects of their class and size usually are."""
    seen = image.seen
    for row in np.flatnonzero(seen.judged[seen.objects.labels]):
        score = usual[row] * (1 - there[row])
        yield Suspicion("invented box", float(score), seen.image_id, int(row), None)


_RULES: tuple[Callable[[_Image], Iterator[Suspicion]], ...] = (_wrong_class, _badly_placed, _missed)


def _is_of_another(image: _Image, k: int) -> bool:
    """Return whether a detection is on the place of an object of its own class as well."""
    return bool((image.same[k] & (image.iou[k] >= PLACE)).any())


def _found_at_all(image: _Image) -> Floats:
    """Return for each object the confidence that anything, of any class, is near it: (N,)."""
    return image.support(image.iou >= NEAR)


def _expected(images: Sequence[_Image], there: Sequence[Floats]) -> list[Floats]:
    """Return how surely the objects of each one's class and nearly its size are found, by image."""
    counts = [len(x) for x in there]
    values = np.concatenate([np.zeros(0), *there])
    labels = np.concatenate([np.zeros(0, np.int64), *(i.seen.objects.labels for i in images)])
    areas = np.concatenate([np.zeros(0), *(i.seen.objects.area for i in images)])
    usual = np.zeros(len(values))
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        own = own[np.argsort(areas[own], kind="stable")]
        usual[own] = _means_of_neighbours(values[own])
    return np.split(usual, np.cumsum(counts)[:-1]) if counts else []


def _means_of_neighbours(values: Floats) -> Floats:
    """Return the mean of the neighbours of each value, itself left out; 0 where there are none."""
    sums, positions = np.append(0.0, np.cumsum(values)), np.arange(len(values))
    size = min(len(values), _ALIKE + 1)
    starts = np.clip(positions - _ALIKE // 2, 0, len(values) - size)
    return np.asarray((sums[starts + size] - sums[starts] - values) / max(1, size - 1))


def _strongest(candidates: Sequence[Suspicion]) -> Iterator[Suspicion]:
    """Yield the strongest suspicions of an image, of each object and each detection one."""
    rows, found = set[int](), set[int]()
    for each in sorted(candidates, key=lambda s: -s.score):
        if each.row not in rows and each.found not in found:
            rows |= set() if each.row is None else {each.row}
            found |= set() if each.found is None else {each.found}
            yield each
