"""Detections ranked by their scores: precision, recall and F1 over the score, and the best threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .matching import Bools, Floats, Ints, Matches

# The recalls at which COCO takes the precision; curves over the score are sampled at the same values.
GRID = np.linspace(0, 1, 101)
# The digits to which a threshold is rounded, where that changes nothing.
_DIGITS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Detections of one class, or of several, that are right or wrong, best first.

    scores: (D,). right: (D,) bool. objects: the number of objects that there are.
    """

    scores: Floats
    right: Bools
    objects: int


@dataclass(frozen=True, slots=True)
class Quality:
    """Precision, recall and F1 of some detections, 0 to 1.

    The precision is None where nothing is found, the others where there is no object.
    """

    precision: float | None
    recall: float | None
    f1: float | None


def rankings(matches: Sequence[Matches], classes: int) -> list[Ranking]:
    """Return the ranking of each class."""
    return rankings_of(*_counted(matches, classes))


def rankings_of(scores: Floats, labels: Ints, right: Bools, objects: Ints) -> list[Ranking]:
    """Return the ranking of each class.

    scores, labels, right: (D,), of all detections, best first. objects: (K,), those of each class.
    """
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(len(objects) + 1))
    parts = [order[ends[k] : ends[k + 1]] for k in range(len(objects))]
    return [Ranking(scores[p], right[p], int(objects[k])) for k, p in enumerate(parts)]


def pooled(matches: Sequence[Matches], classes: int) -> Ranking:
    """Return the ranking of the detections of all classes together."""
    scores, _, right, objects = _counted(matches, classes)
    return Ranking(scores, right, int(objects.sum()))


def _counted(matches: Sequence[Matches], classes: int) -> tuple[Floats, Ints, Bools, Ints]:
    """Return scores, labels and hits of the detections that count, best first, and the objects by class."""
    kept = [~m.ignored for m in matches]
    parts = list(zip(matches, kept, strict=True))
    scores = np.concatenate([np.zeros(0), *(m.scores[k] for m, k in parts)])
    labels = np.concatenate([np.zeros(0, np.int64), *(m.labels[k] for m, k in parts)])
    right = np.concatenate([np.zeros(0, bool), *(m.hits[k] >= 0 for m, k in parts)])
    objects = np.concatenate([np.zeros(0, np.int64), *(m.objects for m in matches)])
    order = np.argsort(-scores, kind="stable")
    return scores[order], labels[order], right[order], np.bincount(objects, minlength=classes)


def counts_at(ranking: Ranking, scores: Floats) -> tuple[Ints, Ints]:
    """Return how many detections reach each of some scores, and how many of them are right."""
    found = np.searchsorted(-ranking.scores, -scores, side="right")
    return found, np.append(0, np.cumsum(ranking.right))[found]


def quality(found: int, right: int, objects: int) -> Quality:
    """Return the quality of so many detections, of which so many are right, of so many objects."""
    return Quality(
        right / found if found else None,
        right / objects if objects else None,
        2 * right / (found + objects) if objects else None,
    )


def quality_at(ranking: Ranking, score: float) -> Quality:
    """Return the quality of the detections that reach a score."""
    (found,), (right,) = counts_at(ranking, np.array([score]))
    return quality(int(found), int(right), ranking.objects)


def best_threshold(ranking: Ranking) -> float | None:
    """Return the threshold of the greatest F1, None where no detection is right.

    It lies halfway between the last score that is kept and the first that is not. Of several that are
    equally good it is the highest.
    """
    if not ranking.right.any():
        return None
    scores, right = ranking.scores, np.cumsum(ranking.right)
    f1 = 2 * right / (ranking.objects + np.arange(1, len(right) + 1))
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # of equal scores
    k = int(last[f1[last].argmax()])
    kept, dropped = float(scores[k]), float(scores[k + 1]) if k + 1 < len(scores) else None
    if dropped is None:
        return kept
    middle = round((kept + dropped) / 2, _DIGITS)
    return middle if dropped < middle <= kept else kept


def precision_at_recalls(ranking: Ranking) -> Floats:
    """Return the best precision at each recall of GRID or a higher one, (101,), whose mean is COCO's AP50."""
    if not ranking.objects or not len(ranking.right):
        return np.zeros(len(GRID))
    right = np.cumsum(ranking.right)
    recall, precision = right / ranking.objects, right / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return np.asarray(np.append(best, 0.0)[np.searchsorted(recall, GRID, side="left")])
