"""Counts against numpy's own, and what is not finite."""

import numpy as np
import pytest

from fdet.pipeline.tools.browsing.histograms import BINS, by_channel, histogram


@pytest.fixture
def maps():
    values = np.random.default_rng(3).normal(2, 5, (7, 9, 11)).astype(np.float32)
    return np.where(values < 0, np.float32(0), values)


def test_a_histogram_is_numpys(maps):
    found = histogram(maps)
    counts, edges = np.histogram(maps.astype(float), BINS)
    assert found["counts"] == counts.tolist()
    assert (found["low"], found["high"]) == (edges[0], edges[-1])
    assert found["mean"] == pytest.approx(maps.astype(float).mean())
    assert found["deviation"] == pytest.approx(maps.astype(float).std())
    assert found["zeros"] == (maps == 0).mean() > 0.1
    assert (found["values"], found["not_finite"]) == (maps.size, 0)


def test_the_largest_is_of_either_sign():
    assert histogram(np.array([-7, 2], np.float32))["largest"] == 7
    assert histogram(np.array([-2, 7], np.float32))["largest"] == 7
    assert histogram(np.array([-2, -7], np.float32))["largest"] == 7


def test_values_that_are_not_finite_are_counted_apart():
    found = histogram(np.array([np.nan, np.inf, -np.inf, 1, 3], np.float32))
    assert (found["not_finite"], found["mean"], sum(found["counts"])) == (3, 2, 2)
    none = histogram(np.full(4, np.nan, np.float32))
    assert (none["not_finite"], sum(none["counts"])) == (4, 0)
    assert "mean" not in none


def test_one_value_alone_has_one_bin():
    assert histogram(np.full(6, 4, np.float32))["counts"] == [6] + [0] * (BINS - 1)


def test_channels_side_by_side_over_one_range(maps):
    maps[2] = 1.5
    found = by_channel(maps)
    edges = (float(maps.min()), float(maps.max()))
    assert (found["low"], found["high"], found["constant"]) == (*edges, 1)
    assert found["counts"].shape == (BINS, len(maps))
    for k, channel in enumerate(maps):
        expected, _ = np.histogram(channel.astype(float), BINS, edges)
        # float32 may put a value on the edge of two bins into either.
        assert np.abs(found["counts"][::-1, k].astype(int) - expected).sum() <= 2
        assert found["counts"][:, k].sum() == channel.size


def test_channels_with_nan():
    maps = np.ones((2, 2, 2), np.float32)
    maps[1, 0, 0] = np.nan
    found = by_channel(maps)
    assert found["counts"].sum(axis=0).tolist() == [4, 3]
    assert found["constant"] == 1
    assert by_channel(np.full((2, 1, 1), np.nan, np.float32))["counts"].sum() == 0
