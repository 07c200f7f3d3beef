"""Precision, recall and F1 against a count by hand, and the threshold against a search over all of them."""

import numpy as np
import pytest

from fdet.pipeline.evaluation.ranking import (
    GRID,
    Quality,
    Ranking,
    best_threshold,
    counts_at,
    pooled,
    precision_at_recalls,
    quality_at,
    rankings,
)

from .made import drawn


def ranking(*rows, objects):
    """rows: (score, right), best first."""
    scores, right = zip(*rows, strict=True) if rows else ((), ())
    return Ranking(np.array(scores, dtype=float), np.array(right, dtype=bool), objects)


def f1_by_hand(r, threshold):
    kept = r.scores >= threshold
    right = r.right[kept].sum()
    precision, recall = right / max(1, kept.sum()), right / r.objects
    return 2 * precision * recall / max(1e-12, precision + recall)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_threshold_is_the_best_of_all(seed):
    for r in rankings(drawn(3, 12, seed), 3):
        best = best_threshold(r)
        tried = [f1_by_hand(r, t) for t in np.linspace(0, 1, 2001)]
        assert f1_by_hand(r, best) >= max(tried) - 1e-12
        assert quality_at(r, best).f1 == pytest.approx(f1_by_hand(r, best))


def test_it_lies_halfway_to_the_first_detection_that_is_left_out():
    r = ranking((0.9, True), (0.8, True), (0.4, False), (0.3, False), objects=2)
    assert best_threshold(r) == pytest.approx(0.6)


def test_of_equal_scores_it_takes_all_or_none():
    r = ranking((0.9, True), (0.5, True), (0.5, False), (0.5, False), objects=2)
    assert best_threshold(r) == pytest.approx(0.7)
    assert quality_at(r, 0.5) == Quality(0.5, 1.0, pytest.approx(2 / 3))


def test_scores_too_near_for_rounding_are_still_told_apart():
    r = ranking((0.5 + 2e-9, True), (0.5 + 1e-9, False), objects=1)
    assert quality_at(r, best_threshold(r)) == Quality(1.0, 1.0, 1.0)


def test_the_highest_of_equally_good_ones_is_taken():
    r = ranking((0.9, True), (0.6, False), (0.5, True), objects=3)
    # 1 of 1 and of 3: 0.5; 2 of 3 and of 3: 0.67; a third that is as good follows.
    assert best_threshold(r) == 0.5
    equal = ranking((0.9, True), (0.6, False), (0.5, False), (0.4, True), objects=4)
    assert f1_by_hand(equal, 0.9) < f1_by_hand(equal, 0.4) and best_threshold(equal) == 0.4


@pytest.mark.parametrize("rows", [(), ((0.9, False),)])
def test_there_is_none_where_nothing_is_right(rows):
    assert best_threshold(ranking(*rows, objects=3)) is None


def test_counts_over_the_score_are_those_by_hand():
    r = pooled(drawn(3, 5), 3)
    found, right = counts_at(r, GRID)
    for k, score in enumerate(GRID):
        assert (
            found[k] == (r.scores >= score).sum() and right[k] == r.right[r.scores >= score].sum()
        )


def test_what_is_not_defined_is_none():
    assert quality_at(ranking(objects=2), 0.5) == Quality(None, 0.0, 0.0)
    assert quality_at(ranking((0.9, False), objects=0), 0.5) == Quality(0.0, None, None)
    assert quality_at(ranking(objects=0), 0.5) == Quality(None, None, None)


def test_the_precision_at_a_recall_is_the_best_at_it_or_a_higher_one():
    at = precision_at_recalls(ranking((0.9, False), (0.8, True), (0.7, True), objects=4))
    assert at[[0, 25, 50]].tolist() == pytest.approx([2 / 3] * 3)
    assert at[51:].sum() == 0
    assert precision_at_recalls(ranking(objects=4)).sum() == 0
