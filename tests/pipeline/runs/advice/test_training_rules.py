"""What is said of curves and losses is true of them, and noise makes no rule speak."""

from dataclasses import replace

import numpy as np
import pytest

from fdet.pipeline.runs.advice.rules import advise
from fdet.pipeline.runs.chance import standard_error

from .made_up import (
    IMAGES,
    NOTHING,
    OBJECTS,
    PEAKED,
    PEAKED_EARLY,
    RISING,
    SATURATED,
    SEEDS,
    facts,
    names,
    scores,
)


@pytest.mark.parametrize("count", [4, 5, 8, 10, 12, 20])
@pytest.mark.parametrize("size", [0.25, 1, 3])
def test_a_flat_curve_that_scatters_gives_no_advice(count, size):
    """size: the scatter as a share of the standard error of AP; 1 in 20 may speak."""
    error = standard_error(0.5, IMAGES, sum(OBJECTS.values()))
    rng = np.random.default_rng(count)
    spoken = 0
    for _ in SEEDS:
        aps = np.clip(0.5 + rng.normal(0, size * error, count), 0, 1)
        losses = rng.normal(0.5, 0.05, 6 * count)
        spoken += bool(advise(facts(aps, losses)))
    assert spoken <= 10


@pytest.mark.parametrize("count", [5, 10, 20])
def test_a_curve_whose_scatter_lasts_gives_no_advice_either(count):
    """Neighbouring evaluations are alike: half of the deviation of one stays in the next."""
    error = standard_error(0.5, IMAGES, sum(OBJECTS.values())) / 2
    rng = np.random.default_rng(count)
    spoken = 0
    for _ in SEEDS:
        noise = rng.normal(0, error, count)
        for k in range(1, count):
            noise[k] = 0.5 * noise[k - 1] + np.sqrt(0.75) * noise[k]
        spoken += bool(advise(facts(0.5 + noise)))
    assert spoken <= 10


@pytest.mark.parametrize(
    ("curve", "rule"),
    [(RISING, "still rises"), (PEAKED, "falls"), (PEAKED_EARLY, "falls"), (SATURATED, None)],
)
def test_a_clear_curve_is_read_through_noise(curve, rule):
    rng = np.random.default_rng(0)
    said = [names(facts(curve + rng.normal(0, 0.005, len(curve)))) for _ in SEEDS]
    expected = [] if rule is None else [rule]
    assert sum(found == expected for found in said) >= 180


def test_small_changes_and_few_images_say_nothing():
    small = tuple(0.5 + 0.0008 * k for k in range(10))
    large_set = scores(images=5000, objects={"cell": 40000})
    assert names(facts(small, scores=large_set)) == []
    few = tuple(0.4 + 0.02 * k for k in range(10))
    assert names(facts(few)) == ["still rises"]
    assert names(facts(few, scores=scores(images=8, objects={"cell": 20}, sizes={}))) == []


@pytest.mark.parametrize("aps", [RISING, PEAKED])
def test_nothing_is_said_of_the_curve_of_an_unfinished_run(aps):
    assert names(facts(aps, finished=False)) == []


def test_a_loss_that_rises_while_ap_collapses_has_diverged():
    losses = [*np.linspace(2, 0.5, 30), *np.linspace(1, 3, 30)]
    fallen = (0.1, 0.3, 0.4, 0.4, 0.3, 0.1, 0.05, 0.02, 0.01, 0.01)
    assert names(facts(fallen, losses))[0] == "diverged"
    assert "diverged" not in names(facts(SATURATED, losses))
    assert "diverged" not in names(facts(fallen, np.linspace(2, 0.5, 60)))


def test_few_evaluations_ask_for_more_of_them_where_there_is_room():
    for done, every, said in ((60, 60, "train.eval_every=6"), (2, 1, "train longer (now 2 epochs")):
        known = replace(NOTHING, curve=((done, 0.5),), done=done, epochs=done, eval_every=every)
        assert said in advise(known)[0].text
    stopped = replace(NOTHING, curve=((6, 0.5), (12, 0.4)), done=12)
    assert advise(stopped) == []
