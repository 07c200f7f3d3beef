"""How far two trainings are apart, by hand."""

import math

import pytest
import torch

from fdet.pipeline.tools.equivalence.steps import TrainingDistance, training_distance
from fdet.pipeline.training.probe import Trained

BEFORE = {"a": torch.zeros(2), "b": torch.zeros(1)}


def trained(a, b=0.0, *losses):
    return Trained(
        losses or ({"box": 1.0, "class": 3.0},), {"a": torch.tensor(a), "b": torch.tensor([b])}
    )


def test_the_same_bits_are_not_apart():
    assert training_distance(trained([3.0, 4.0]), trained([3.0, 4.0]), BEFORE) == TrainingDistance(
        True, 0.0, 0.0
    )


def test_steps_that_moved_nothing_are_not_apart():
    """The loss scale of fp16 may skip the first ones."""
    assert training_distance(trained([0.0, 0.0]), trained([0.0, 0.0]), BEFORE) == TrainingDistance(
        True, 0.0, 0.0
    )


def test_weights_are_measured_by_the_way_that_they_moved():
    found = training_distance(trained([3.0, 4.0], 0.5), trained([3.0, 4.0]), BEFORE)
    assert found == TrainingDistance(False, 0.0, pytest.approx(0.1))
    assert training_distance(trained([3.0, 4.0]), trained([0.0, 0.0]), BEFORE).weights == math.inf


def test_losses_are_measured_by_the_total_of_their_step():
    one = trained([1.0, 0.0], 0.0, {"box": 1.0, "class": 3.0}, {"box": 1.5, "class": 0.5})
    other = trained([1.0, 0.0], 0.0, {"box": 1.0, "class": 3.0}, {"box": 1.0, "class": 1.0})
    assert training_distance(one, other, BEFORE) == TrainingDistance(False, 0.25, 0.0)


@pytest.mark.parametrize("name", ["box", "class"])
@pytest.mark.parametrize("step", [0, 1])
def test_a_loss_that_is_no_number_is_beyond_every_bound(name, step):
    sound = [{"box": 1.0, "class": 3.0}, {"box": 1.0, "class": 3.0}]
    broken = [dict(losses) for losses in sound]
    broken[step][name] = math.nan
    one, other = trained([1.0, 0.0], 0.0, *broken), trained([1.0, 0.0], 0.0, *sound)
    for pair in ((one, other), (other, one), (one, one)):
        assert training_distance(*pair, BEFORE).loss == math.inf


def test_weights_that_are_no_numbers_are_beyond_every_bound():
    found = training_distance(trained([math.nan, 0.0]), trained([math.nan, 0.0]), BEFORE)
    assert not found.exact
    assert not found.weights <= 1e9
