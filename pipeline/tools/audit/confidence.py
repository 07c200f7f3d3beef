"""How probable it is that a detection agrees with the labels, by its score: what makes scores comparable.

It is measured on images that the heads have not seen. So it needs no scores of a certain kind, and a head
that is seldom right is seldom believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...evaluation.matching import Bools, Floats, Matches

# The fewest detections over which a share is taken, and how many shares there are at most.
_FEWEST, _MOST = 20, 200
# A class with fewer detections that agree takes the confidence of all classes together.
_OWN = 50


@dataclass(frozen=True, slots=True, eq=False)
class Confidence:
    """A function from scores to probabilities that never falls. scores, shares: (M,), ascending."""

    scores: Floats
    shares: Floats

    def of(self, scores: Floats) -> Floats:
        """Return the probability of each score, 0 where nothing was measured."""
        if not len(self.scores):
            return np.zeros(len(scores))
        return np.interp(scores, self.scores, self.shares)


def confidences(matches: Sequence[Matches], classes: int) -> list[Confidence]:
    """Return the confidence of each class, from the matched detections of all held-out images."""
    counted = [~m.ignored for m in matches]
    parts = list(zip(matches, counted, strict=True))
    scores = np.concatenate([np.zeros(0), *(m.scores[c] for m, c in parts)])
    labels = np.concatenate([np.zeros(0, np.int64), *(m.labels[c] for m, c in parts)])
    right = np.concatenate([np.zeros(0, bool), *(m.hits[c] >= 0 for m, c in parts)])
    together = measured(scores, right)
    return [
        measured(scores[own], right[own]) if right[own].sum() >= _OWN else together
        for own in (labels == k for k in range(classes))
    ]


def measured(scores: Floats, right: Bools) -> Confidence:
    """Return the confidence of detections that are right or not, by isotonic regression.

    Neighbouring scores are put together first, so that a few detections do not make a probability of 0 or 1.
    The regression is that of Ayer et al. (1955), "pool adjacent violators".
    """
    if not len(scores):
        return Confidence(np.zeros(0), np.zeros(0))
    order = np.argsort(scores, kind="stable")
    parts = int(np.clip(len(scores) // _FEWEST, 1, _MOST))
    blocks = np.array_split(order, parts)
    means = np.array([scores[block].mean() for block in blocks])
    shares = [float(right[block].mean()) for block in blocks]
    return Confidence(means, _rising(shares, [len(block) for block in blocks]))


def _rising(shares: Sequence[float], weights: Sequence[int]) -> Floats:
    """Return the values nearest to some shares, by weighted squares, that never fall."""
    pooled: list[tuple[float, int, int]] = []  # value, weight, how many shares
    for share, weight in zip(shares, weights, strict=True):
        value, total, count = share, weight, 1
        while pooled and pooled[-1][0] > value:
            before, own, members = pooled.pop()
            value = (value * total + before * own) / (total + own)
            total, count = total + own, count + members
        pooled.append((value, total, count))
    return np.repeat([value for value, _, _ in pooled], [count for _, _, count in pooled])
