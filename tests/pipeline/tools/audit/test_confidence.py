"""Scores become the probability that a detection agrees with the labels."""

import numpy as np
import pytest

from fdet.pipeline.evaluation.matching import Matches
from fdet.pipeline.tools.audit.confidence import confidences, measured


def scored(rng, count, share_of):
    scores = rng.random(count)
    return scores, rng.random(count) < share_of(scores)


def test_it_is_the_share_that_is_right_whatever_the_scores_mean():
    rng = np.random.default_rng(0)
    confidence = measured(*scored(rng, 20_000, lambda s: s**3))
    at = np.array([0.2, 0.5, 0.8, 0.95])
    assert confidence.of(at) == pytest.approx(at**3, abs=0.06)


def test_it_never_falls_and_a_few_detections_make_no_certainty():
    rng = np.random.default_rng(1)
    scores, right = scored(rng, 300, lambda s: np.full(len(s), 0.5))
    shares = measured(scores, right).of(np.linspace(0, 1, 50))
    assert (np.diff(shares) >= 0).all()
    assert shares[0] > 0.1 and shares[-1] < 0.95
    assert measured(np.array([0.3, 0.9]), np.array([False, True])).of(np.array([1.0])) == [0.5]


def test_nothing_found_is_believed_in_nothing():
    assert measured(np.zeros(0), np.zeros(0, bool)).of(np.array([0.9])).tolist() == [0.0]
    assert len(confidences([], 3)) == 3


def of_image(scores, labels, hits):
    count = len(scores)
    return Matches(
        np.array(scores, float),
        np.array(labels),
        np.arange(count),
        np.zeros((count, 1)),
        np.array(hits),
        np.zeros(count, bool),
        np.zeros(1, int),
        np.zeros(1, int),
    )


def test_a_class_has_its_own_where_enough_of_it_is_right():
    rng = np.random.default_rng(2)
    good = [of_image([s], [0], [0]) for s in rng.uniform(0.4, 0.6, 100)]
    bad = [
        of_image([s], [1], [0 if k % 2 else -1]) for k, s in enumerate(rng.uniform(0.4, 0.6, 100))
    ]
    few = [of_image([0.5], [2], [-1])]
    shares = [float(c.of(np.array([0.5]))[0]) for c in confidences([*good, *bad, *few], 3)]
    assert shares[0] == pytest.approx(1.0)
    assert shares[1] == pytest.approx(0.5, abs=0.15)
    assert 0.6 < shares[2] < 0.9, "of all classes together"
