"""Every object and every detection is in one cell; the diagonal has what is right."""

import numpy as np
import pytest

from fdet.pipeline.evaluation.confusion import calibration, confusion
from fdet.pipeline.evaluation.ranking import Ranking, pooled, quality_at, rankings

from .made import FAR, HERE, THERE, drawn, image

NEAR = [4.0, 0.0, 14.0, 10.0]  # 60 of 140
ZERO = np.zeros((3, 3), dtype=int)


def cells(matrix):
    return {(int(r), int(c)): int(matrix[r, c]) for r, c in np.argwhere(matrix)}


# Two classes, 0 and 1; 2 is the background.
CASES = {
    "right": ([(HERE, 0)], [(HERE, 0, 0.9)], {(0, 0): 1}),
    "another class": ([(HERE, 0)], [(HERE, 1, 0.9)], {(0, 1): 1}),
    "missed": ([(HERE, 0)], [], {(0, 2): 1}),
    "below the threshold": ([(HERE, 0)], [(HERE, 0, 0.4)], {(0, 2): 1}),
    "invented": ([], [(FAR, 1, 0.9)], {(2, 1): 1}),
    "too loose": ([(HERE, 0)], [(NEAR, 0, 0.9)], {(0, 2): 1, (2, 0): 1}),
    "the own class comes first": (
        [(HERE, 0)],
        [(HERE, 1, 0.9), (HERE, 0, 0.6)],
        {(0, 0): 1, (2, 1): 1},
    ),
    "an object is taken once": (
        [(HERE, 0)],
        [(HERE, 1, 0.9), (HERE, 1, 0.8)],
        {(0, 1): 1, (2, 1): 1},
    ),
    "one in a crowd is nowhere": ([(THERE, 1, True)], [(THERE, 1, 0.9)], {}),
    "swapped": (
        [(HERE, 0), (THERE, 1)],
        [(HERE, 1, 0.9), (THERE, 0, 0.9)],
        {(0, 1): 1, (1, 0): 1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_is_in_its_cell(case):
    objects, found, expected = CASES[case]
    assert cells(confusion([image(objects, found)], np.array([0.5, 0.5]))) == expected


@pytest.mark.parametrize("seed", range(3))
def test_rows_are_objects_columns_detections_and_the_diagonal_is_right(seed):
    matches, limits = drawn(4, 10, seed), np.array([0.2, 0.5, 0.7, 0.4])
    matrix = confusion(matches, limits)
    for k, r in enumerate(rankings(matches, 4)):
        kept = r.scores >= limits[k]
        assert matrix[k].sum() == r.objects and matrix[:, k].sum() == kept.sum()
        assert matrix[k, k] == r.right[kept].sum() > 0
        at = quality_at(r, limits[k])
        assert at.recall == pytest.approx(matrix[k, k] / matrix[k].sum())
    assert matrix[-1, -1] == 0


def test_nothing_at_all_is_an_empty_matrix():
    assert cells(confusion([], np.array([0.5]))) == {}


def test_hits_are_counted_in_tenths_of_the_scores():
    rows = [(0.95, True), (0.93, False), (0.31, True), (0.0, False), (1.0, True)]
    scores, right = (np.array(x) for x in zip(*rows, strict=True))
    found = calibration(Ranking(scores, right.astype(bool), 3))
    assert [n for n, _, _ in found.bins] == [1, 0, 0, 1, 0, 0, 0, 0, 0, 3]
    assert found.bins[9] == pytest.approx((3, 2.88 / 3, 2 / 3))
    assert found.bins[5] == (0, 0.0, 0.0)
    by_hand = (abs(2.88 - 2) + abs(0.31 - 1) + 0) / 5
    assert found.error == pytest.approx(by_hand)


def test_scores_that_are_probabilities_are_hardly_off():
    rng = np.random.default_rng(0)
    scores = np.sort(rng.random(20_000))[::-1]
    exact = Ranking(scores, rng.random(20_000) < scores, 1)
    assert calibration(exact).error < 0.02
    assert calibration(Ranking(scores, rng.random(20_000) < scores**3, 1)).error > 0.2
    assert calibration(pooled([], 1)).error is None
