"""What the scores of a run are worth: curves over the score, best thresholds, calibration and confusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..runs.threshold_option import DRAWN
from .confusion import Calibration, calibration, confusion
from .matching import FOREGROUND, Floats, Ints, Matches
from .ranking import (
    GRID,
    Quality,
    Ranking,
    best_threshold,
    counts_at,
    pooled,
    precision_at_recalls,
    quality,
    quality_at,
    rankings,
)

# A class with fewer objects takes the best threshold of all classes: its own would be chance.
FEW_OBJECTS = 10
# The decimals of the curves in a file.
_DECIMALS = 4

Curve = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Scored:
    """The figures of one class, or of all together, at an overlap of 0.5.

    objects: their number. threshold: the score from which on detections are taken; None where no detection
    is right at all. own: whether it is the best of these detections, or that of all classes. at: the quality
    at the threshold, at 0.3 where there is none. precision, recall, f1: at the scores 0, 0.01, ..., 1;
    None where they are undefined. precision_at_recall: the precision at the recalls 0, 0.01, ..., 1; of
    all classes, the mean over those that have objects.
    """

    objects: int
    threshold: float | None
    own: bool
    at: Quality
    precision: Curve
    recall: Curve
    f1: Curve
    precision_at_recall: Curve

    def to_json(self) -> dict[str, Any]:
        """Return the figures by name."""
        return {
            "objects": self.objects,
            "threshold": self.threshold,
            "own_threshold": self.own,
            "precision": _rounded(self.at.precision),
            "recall": _rounded(self.at.recall),
            "f1": _rounded(self.at.f1),
            "over_score": {
                "precision": [*map(_rounded, self.precision)],
                "recall": [*map(_rounded, self.recall)],
                "f1": [*map(_rounded, self.f1)],
            },
            "precision_at_recall": [*map(_rounded, self.precision_at_recall)],
        }


@dataclass(frozen=True, slots=True)
class ScoreFigures:
    """The figures of the scores of all classes together, and of each.

    together: of all detections, at one threshold. at_thresholds: the quality of all detections where each
    class has its own threshold. classes: by name. confusion: (true class, class found, how many) for each
    two that occur, in the order of `classes`, in which the background comes last.
    """

    together: Scored
    at_thresholds: Quality
    classes: dict[str, Scored]
    calibration: Calibration
    confusion: tuple[tuple[int, int, int], ...]

    def matrix(self) -> Ints:
        """Return the confusion matrix, (K + 1, K + 1): rows are true classes, columns those found."""
        return matrix_of(self.confusion, len(self.classes))

    def to_json(self) -> dict[str, Any]:
        """Return the figures as an evaluation has them."""
        both = self.at_thresholds
        return {
            "overlap": FOREGROUND,
            "grid": [round(float(v), 2) for v in GRID],
            "all": self.together.to_json(),
            "at_thresholds": {
                "precision": _rounded(both.precision),
                "recall": _rounded(both.recall),
                "f1": _rounded(both.f1),
            },
            "classes": {name: scored.to_json() for name, scored in self.classes.items()},
            "calibration": {
                "bins": [[n, *map(_rounded, means)] for n, *means in self.calibration.bins],
                "error": _rounded(self.calibration.error),
            },
            "confusion": [list(entry) for entry in self.confusion],
        }


def matrix_of(entries: Sequence[Sequence[int]], classes: int) -> Ints:
    """Return the confusion matrix, (K + 1, K + 1), from its entries that an evaluation keeps."""
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    for true, found, count in entries:
        matrix[true, found] = count
    return matrix


def score_figures(matches: Sequence[Matches], names: Sequence[str]) -> ScoreFigures:
    """Return the figures of the scores of matched detections. names: the classes, each name once."""
    every, each = pooled(matches, len(names)), rankings(matches, len(names))
    best = best_threshold(every)
    chosen = [_threshold(ranking, best) for ranking in each]
    curves = np.array([precision_at_recalls(r) for r in each if r.objects])
    mean = curves.mean(axis=0) if len(curves) else None
    classes = {
        name: _scored(ranking, *choice, precision_at_recalls(ranking) if ranking.objects else None)
        for name, ranking, choice in zip(names, each, chosen, strict=True)
    }
    limits = np.array([DRAWN if t is None else t for t, _ in chosen], dtype=np.float64)
    matrix = confusion(matches, limits)
    right, objects = int(matrix.diagonal()[:-1].sum()), int(matrix[:-1].sum())
    entries = [(int(t), int(f), int(matrix[t, f])) for t, f in np.argwhere(matrix)]
    return ScoreFigures(
        _scored(every, best, best is not None, mean),
        quality(int(matrix[:, :-1].sum()), right, objects),
        classes,
        calibration(every),
        tuple(entries),
    )


def _threshold(ranking: Ranking, of_all: float | None) -> tuple[float | None, bool]:
    """Return the threshold of a class, and whether it is its own."""
    own = best_threshold(ranking) if ranking.objects >= FEW_OBJECTS else None
    return (of_all, False) if own is None else (own, True)


def _scored(
    ranking: Ranking, threshold: float | None, own: bool, at_recalls: Floats | None
) -> Scored:
    found, right = counts_at(ranking, GRID)
    pairs = zip(found.tolist(), right.tolist(), strict=True)
    curve = [quality(f, r, ranking.objects) for f, r in pairs]
    return Scored(
        ranking.objects,
        threshold,
        own,
        quality_at(ranking, DRAWN if threshold is None else threshold),
        tuple(q.precision for q in curve),
        tuple(q.recall for q in curve),
        tuple(q.f1 for q in curve),
        tuple([None] * len(GRID) if at_recalls is None else at_recalls.tolist()),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)
