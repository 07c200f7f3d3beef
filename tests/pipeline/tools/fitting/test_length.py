"""The length of a training that has to end in time."""

import pytest

from fdet.pipeline.runs.config import load_config
from fdet.pipeline.tools.fitting.ladder import Costs, Work
from fdet.pipeline.tools.fitting.length import FEWEST_STEPS, Length, length_for

COSTS = Costs(0.0, 1.0, 0.0, 0.0)


def work(images: int, *, trained: int | None = None) -> Work:
    return Work(images, 10, trained or images, 4, 1500, maximum_epochs=max(24, 12_000 // images))


@pytest.mark.parametrize(
    ("images", "seconds", "epochs", "every"),
    [
        (100, 1500, 60, 6),
        (100, 1510, 60, 6),
        (100, 1000, 40, 4),
        (100, 10_000, 120, 12),  # no more than the longest training
        (4000, 100_000, 24, 2),
        (4000, 3000, 3, 1),
        (100, 20, 8, 1),  # no fewer than 200 steps
    ],
)
def test_it_takes_the_time_that_is_left(images, seconds, epochs, every):
    found = length_for(COSTS, work(images), seconds)
    assert found == Length(epochs, every)
    assert found.steps(work(images)) >= FEWEST_STEPS


def test_where_there_is_no_time_for_an_epoch_it_has_fewer_images():
    found = length_for(COSTS, work(100_000), 1000)
    assert found == Length(1, 1, 0.04)
    assert found.steps(work(100_000)) == pytest.approx(1000)
    assert length_for(COSTS, work(10**9), 0).steps(work(10**9)) >= FEWEST_STEPS


def test_a_share_of_the_images_that_was_asked_for_makes_epochs_short():
    found = length_for(COSTS, work(1000, trained=100), 500)
    assert found == Length(20, 2)
    assert found.steps(work(1000, trained=100)) == 500


def test_evaluations_are_as_many_as_there_is_time_for():
    assert length_for(Costs(0, 1.0, 100.0, 0), work(100), 1000).eval_every == 16  # 32 epochs, two


@pytest.mark.parametrize("length", [Length(3, 1), Length(1, 1, 0.0417)])
def test_it_is_a_configuration(length):
    train = load_config(assignments=length.assignments).train
    assert (train.epochs, train.eval_every) == (length.epochs, length.eval_every)
    assert train.fraction == (length.fraction or 1.0)
