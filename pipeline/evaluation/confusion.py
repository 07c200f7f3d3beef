"""The confusion matrix of detections, with the background as a class, and the calibration of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .matching import FOREGROUND, Bools, Floats, Ints, Matches
from .ranking import Ranking

# The number of ranges of scores in which hits are counted.
BINS = 10


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well scores say the probability of being right.

    bins: the detections whose scores are in each tenth of 0 to 1: how many count, their mean score, and the
    share of them that are right. error: the expected calibration error (Guo et al., arXiv 1706.04599), the
    mean distance of score and share over all detections, 0 to 1; None without a detection.
    """

    bins: tuple[tuple[int, float, float], ...]
    error: float | None


def calibration(ranking: Ranking) -> Calibration:
    """Return the calibration of scores."""
    tenth = np.minimum((ranking.scores * BINS).astype(np.int64), BINS - 1)
    number = np.bincount(tenth, minlength=BINS)
    values = ranking.scores, ranking.right.astype(np.float64)
    means = [np.bincount(tenth, v, BINS) / np.maximum(1, number) for v in values]
    bins = tuple(zip(number.tolist(), *(mean.tolist() for mean in means), strict=True))
    distance = float((number * abs(means[0] - means[1])).sum())
    return Calibration(bins, distance / len(ranking.scores) if len(ranking.scores) else None)


def confusion(matches: Sequence[Matches], thresholds: Floats) -> Ints:
    """Count what was found as what, (K + 1, K + 1).

    Rows are true classes, columns those found; the last of each is the background. Detections take objects
    of their own class first, as for AP, so the diagonal has what is right at these thresholds. Those that
    are left take objects of other classes, the best first, where an object is left that they overlap by
    0.5. Rows add up to the objects, columns to the detections that count.

    thresholds: (K,), the score that a detection of each class must reach.
    """
    classes = len(thresholds)
    counts = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    for m in matches:
        kept = (m.scores >= thresholds[m.labels]) & ~m.ignored
        hits = m.hits[kept & (m.hits >= 0)]
        np.add.at(counts, (m.objects[hits], m.objects[hits]), 1)
        free = np.ones(len(m.objects), dtype=bool)
        free[hits] = False
        for k in np.flatnonzero(kept & (m.hits < 0)):
            counts[_taken(m, int(k), free, classes), m.labels[k]] += 1
        counts[:, classes] += np.bincount(m.objects[free], minlength=classes + 1)
    return counts


def _taken(m: Matches, detection: int, free: Bools, nothing: int) -> int:
    """Return the class of the free object that a detection takes, which then is not free any more."""
    left = np.where(free, m.iou[detection], 0.0)
    if not len(left) or left.max() < FOREGROUND:
        return nothing
    best = int(left.argmax())
    free[best] = False
    return int(m.objects[best])
