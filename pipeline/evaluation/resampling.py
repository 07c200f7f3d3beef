"""Average precision of resampled images: how certain a difference between two sets of detections is.

A resample only weights the images, so nothing is matched or sorted again. With weights of one, the result is
COCO's AP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..machines.progress import progress_line
from .matching import Floats, Ints
from .ranking import GRID

# The share of the resamples that an interval has.
LEVEL = 0.95
# With fewer images an interval says nothing: that of one image has no width at all.
FEW_IMAGES = 10
# The number of resamples, and the number of APs of a class that all of them may take.
ROUNDS, CLASS_ROUNDS = 1000, 100_000
# A class costs as much as so many detections, and from so many on a progress line is shown: about 3 s.
_CLASS_COST, _LONG = 10_000, 10**8


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference of AP as a fraction, and the limits between which 95 % of the resamples have it."""

    difference: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Return whether the difference has the same sign in all of the interval."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The differences of AP of one set of detections from another, on the same images.

    ap: that of all classes, None where no object counts. per_class: by name. rounds: the number of resamples.
    """

    ap: Interval | None
    per_class: Mapping[str, Interval | None]
    rounds: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much better a run is than another. other: its folder. weights: the sha256 of its weights.

    ap, per_class: its AP, and that of its classes. difference: this run's AP less that.
    """

    other: str
    weights: str
    ap: float | None
    per_class: Mapping[str, float | None]
    difference: PairedDifference

    def to_json(self) -> dict[str, Any]:
        """Return the figures by name."""
        return asdict(self)


class ResampledAP:
    """The detections of a set of images, matched to their objects, of all areas.

    ap, per_class: those of the images themselves, None without an object.
    """

    def __init__(self, counted: Any, images: int, most: int) -> None:
        """Take the matches of an evaluation by pycocotools. most: how many of a class and an image count."""
        areas = len(counted.params.areaRng)
        starts = range(0, len(counted.evalImgs), areas * images)
        self.images = images
        self.classes = [_Class(counted.evalImgs[k : k + images], most) for k in starts]
        plain = self.each(np.ones(images, dtype=np.int64))
        self.ap = _defined(_mean(plain))
        self.per_class = [_defined(ap) for ap in plain.tolist()]

    def each(self, weights: Ints) -> Floats:
        """Return the AP of each class where image k counts weights[k] times; NaN without an object."""
        return np.array([of_class.ap(weights) for of_class in self.classes])


class _Class:
    """The matches of a class: the objects of each image, and the detections of all, best first.

    image: (D,), the image of each detection. right: (10, D) bool, whether it is right at each overlap; wrong
    likewise. Precision rises at a right detection alone, so only these are looked at: `_hits` has their
    positions at each overlap, filled up with D, and `_ignored_before` how many before them do not count.
    """

    def __init__(self, images: Sequence[dict[str, Any] | None], most: int) -> None:
        self.objects = np.array(
            [0 if x is None else int((~np.array(x["gtIgnore"], dtype=bool)).sum()) for x in images]
        )
        kept = [(k, x) for k, x in enumerate(images) if x is not None]
        scores = [np.array(x["dtScores"][:most]) for _, x in kept]
        order = np.argsort(-np.concatenate([*scores, []]), kind="mergesort")
        where = [np.full(len(s), k) for (k, _), s in zip(kept, scores, strict=True)]
        self.image = np.concatenate([*where, []])[order].astype(int)
        empty = np.zeros((10, 0))
        matched = np.concatenate([*(x["dtMatches"][:, :most] for _, x in kept), empty], axis=1)
        ignored = np.concatenate([*(x["dtIgnore"][:, :most] for _, x in kept), empty], axis=1)
        self.right = ((matched > 0) & (ignored == 0))[:, order]
        self.wrong = ((matched == 0) & (ignored == 0))[:, order]
        self._hits = _filled([np.flatnonzero(row) for row in self.right], len(order))
        ignored_at = [np.flatnonzero(row) for row in ~(self.right | self.wrong)]
        pairs = zip(ignored_at, self._hits, strict=True)
        self._ignored_before = np.array([np.searchsorted(own, at) for own, at in pairs])
        self._ignored = _filled(ignored_at, len(order))

    def ap(self, weights: Ints) -> float:
        """Return the AP where each image counts as often as its weight says; NaN without an object."""
        objects = int((self.objects * weights).sum())
        if not objects:
            return float("nan")
        # One more detection, which does not count, stands for the places that are filled up.
        own = np.append(weights[self.image], 0)
        right = np.cumsum(own[self._hits], axis=1)
        ignored = np.cumsum(np.pad(own[self._ignored], ((0, 0), (1, 0))), axis=1)
        total = np.cumsum(own)[self._hits] - np.take_along_axis(ignored, self._ignored_before, 1)
        precision = np.where(self._hits < len(self.image), right / np.maximum(total, 1), 0.0)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = 0.0
        for recall, best in zip(right / objects, precision, strict=True):
            at = np.searchsorted(recall, GRID, side="left")
            reached += best[at[at < len(best)]].sum()
        return float(reached / (len(right) * len(GRID)))


def _filled(rows: Sequence[Ints], value: int) -> Ints:
    """Return rows of different lengths as one array, filled up with a value."""
    found = np.full((len(rows), max(map(len, rows))), value)
    for row, own in zip(found, rows, strict=True):
        row[: len(own)] = own
    return found


def paired_difference(
    pairs: Sequence[tuple[ResampledAP, ResampledAP]],
    names: Sequence[str],
    rounds: int | None = None,
) -> PairedDifference:
    """Return by how much the first of each pair is better than the second, on average over the pairs.

    All are of the same images and classes, which `names` has. rounds: the number of resamples; None for
    1000, or fewer where there are more than a hundred classes.
    """
    rounds = rounds or min(ROUNDS, max(100, CLASS_ROUNDS // max(1, len(names))))
    images = pairs[0][0].images
    generator = np.random.default_rng(0)

    def difference(weights: Ints) -> Floats:
        """Return the differences of each class, and of their means last."""
        both = [(one.each(weights), other.each(weights)) for one, other in pairs]
        found = [np.append(a - b, _mean(a) - _mean(b)) for a, b in both]
        return np.asarray(np.mean(found, axis=0))

    observed = difference(np.ones(images, dtype=np.int64))
    drawn: list[Floats] = []
    with progress_line("resamples", rounds, shown=_is_long(pairs, rounds)) as progress:
        for _ in range(rounds):
            chosen = generator.integers(0, images, images)
            drawn.append(difference(np.bincount(chosen, minlength=images)))
            progress.advance()
    *each, both = (_interval(o, of) for o, of in zip(observed, np.array(drawn).T, strict=True))
    return PairedDifference(both, dict(zip(names, each, strict=True)), rounds)


def _is_long(pairs: Sequence[tuple[ResampledAP, ResampledAP]], rounds: int) -> bool:
    """Return whether so many resamples take more than some seconds."""
    detections = sum(len(of.image) for pair in pairs for each in pair for of in each.classes)
    classes = sum(len(each.classes) for pair in pairs for each in pair)
    return rounds * (detections + _CLASS_COST * classes) > _LONG


def _interval(observed: float, drawn: Floats) -> Interval | None:
    if np.isnan(observed):
        return None
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn[~np.isnan(drawn)], [tail, 1 - tail])
    return Interval(float(observed), float(low), float(high))


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
