"""Chance: Student's t against tables, trends against numpy, both changes against noise, errors of an AP."""

import math

import numpy as np
import pytest

from fdet.pipeline.runs.chance import fall, lead_error, standard_error, student, trend

# Two-sided, from printed tables.
TABLE = {
    0.95: {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 10: 2.228, 30: 2.042},
    0.99: {1: 63.657, 2: 9.925, 3: 5.841, 4: 4.604, 10: 3.169, 30: 2.750},
}


@pytest.mark.parametrize("level", TABLE)
def test_student_is_that_of_the_tables(level):
    for freedom, expected in TABLE[level].items():
        assert student(freedom, level) == pytest.approx(expected, rel=1e-2)


def test_a_line_is_found_whole_and_a_constant_is_none():
    assert trend([0.1, 0.2, 0.3, 0.4]) == pytest.approx(0.3)
    assert trend([0.1 * k for k in range(10)]) == pytest.approx(0.9)
    assert trend([0.5] * 5) == 0.0
    assert fall([0.1, *[0.4] * 4, *[0.1] * 5]) == pytest.approx(0.3)
    assert fall([0.1, 0.2, 0.3, 0.4, 0.4, 0.4]) == 0.0


@pytest.mark.parametrize("count", [4, 5])
def test_a_line_counts_where_its_t_is_beyond_students(count):
    rng, places = np.random.default_rng(count), np.arange(count)
    for slope in rng.uniform(-0.05, 0.05, 60):
        values = 0.5 + slope * places + rng.normal(0, 0.01, count)
        (fitted, _), covariance = np.polyfit(places, values, 1, cov="unscaled")
        residuals = values - np.polyval(np.polyfit(places, values, 1), places)
        error = math.sqrt(covariance[0, 0] * (residuals**2).sum() / (count - 2))
        expected = fitted * (count - 1) if abs(fitted / error) > student(count - 2, 0.99) else 0.0
        assert trend(values.tolist()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("count", [4, 5, 9, 30])
@pytest.mark.parametrize("size", [1e-4, 0.02, 1.0])
def test_noise_has_neither_a_trend_nor_a_fall(count, size):
    """A trend in 1 % of all seeds, a fall in about as many: in 6 or fewer of 200 nearly always."""
    noise = np.random.default_rng(7).normal(0.5, size, (200, count)).tolist()
    assert sum(trend(values) != 0 for values in noise) <= 6
    assert count < 6 or sum(fall(values) != 0 for values in noise) <= 6


@pytest.mark.parametrize(("fallen", "found"), [(0.115, 0.0), (0.122, 0.122)])
def test_a_fall_is_compared_with_the_scatter_of_neighbours(fallen, found):
    """The median bend is 0.04: a value scatters by 0.0242, the difference of two means of three by 0.0198."""
    last = [0.52 - fallen, 0.5 - fallen, 0.52 - fallen]
    assert fall([0.5, 0.52, 0.5, 0.52, 0.5, 0.52, 0.5, *last]) == pytest.approx(found)


def test_the_error_of_an_ap_is_that_of_a_share():
    assert standard_error(0.5, 100) == pytest.approx(0.05)
    assert standard_error(0.5, 100, 400) == standard_error(0.5, 100, 4000) == pytest.approx(0.025)
    assert standard_error(0.5, 100, 25) == pytest.approx(0.1)
    assert standard_error(1.5, 0) == standard_error(-1, 10) == 0.0


def test_the_lead_of_a_share_has_the_error_of_a_difference_in_a_multinomial():
    drawn = np.random.default_rng(0).multinomial(400, [0.2, 0.1, 0.7], 20000) / 400
    assert lead_error(0.2, 0.1, 400) == pytest.approx((drawn[:, 0] - drawn[:, 1]).std(), rel=0.03)
    assert lead_error(0.2, -0.1, 400) > 0


@pytest.mark.parametrize(
    ("aps", "images", "objects"),
    [
        ((0.579, 0.587, 0.588), 87, 1137),
        ((0.531, 0.529, 0.523), 87, 1137),
        ((0.400, 0.429, 0.428), 24, 279),
        ((0.447, 0.376, 0.454), 20, 301),
        ((0.426, 0.425, 0.445), 20, 301),
    ],
)
def test_seeds_scatter_by_no_more_than_the_error(aps, images, objects):
    """The trainings of docs/recipe.md and benchmarks/RESULTS.md that differ in the seed alone."""
    assert np.std(aps, ddof=1) <= standard_error(float(np.mean(aps)), images, objects)
