"""What the lines of metrics.jsonl come to."""

import pytest

from fdet.pipeline.runs.figures import RunFigures, Spread
from fdet.pipeline.runs.history import Evaluation, Steps
from fdet.pipeline.tools.comparison.figures import SourceFigures

from .made_up import run, source


def line(step, seconds, rate, waiting=0.0, memory=500, device=None):
    return Steps(step, 1 + step // 5, 1.0, {"box": 1.0}, seconds, rate, waiting, memory, device)


def evaluation(step, ap):
    return Evaluation(step, step // 4, {"ap": ap})


LINES = [
    line(4, 2.0, 10.0, waiting=0.5),
    evaluation(4, 0.3),
    line(7, 3.0, 4.0, memory=700),
    line(8, 1.0, 8.0, memory=600),
    evaluation(8, 0.2),
]


def test_seconds_and_images_are_sums_over_the_lines_and_evaluations_take_none():
    figures = RunFigures.of("online", 3, LINES)
    assert (figures.source, figures.seed, figures.epochs) == ("online", 3, 2)
    assert (figures.seconds, figures.images) == (6.0, 40.0)
    assert figures.waiting == pytest.approx(1 / 6)
    assert (figures.best_ap, figures.last_ap) == (0.3, 0.2)
    assert figures.learning_curve == ((2.0, 0.3), (6.0, 0.2))
    assert (figures.process_mb, figures.device_mb) == (700, None)


def test_an_ap_without_ground_truth_is_none_at_all():
    figures = RunFigures.of("online", 0, [line(4, 2.0, 10.0), evaluation(4, None)])
    assert (figures.best_ap, figures.last_ap) == (0.0, 0.0)


def test_the_peak_of_the_device_is_the_largest_of_all_lines():
    lines = [line(4, 1.0, 1.0, device=n) for n in (90, 120, 110)]
    assert RunFigures.of("cached", 0, [*lines, evaluation(4, 0.1)]).device_mb == 120


def test_a_source_is_the_mean_over_its_seeds_and_the_largest_peak():
    runs = (
        run(seed=0, ap=0.2, seconds=10.0, images=100.0, process_mb=900.0, device_mb=50.0),
        run(seed=1, ap=0.4, seconds=30.0, images=100.0, process_mb=800.0, device_mb=70.0),
    )
    figures = SourceFigures("cached", runs, 60.0, 5)
    assert figures.best_ap == Spread(pytest.approx(0.3), 0.2, 0.4)
    assert figures.last_ap == Spread(pytest.approx(0.29), pytest.approx(0.19), pytest.approx(0.39))
    assert (figures.seconds, figures.images_per_second) == (20.0, 5.0)
    assert (figures.process_mb, figures.device_mb) == (900.0, 70.0)
    assert [figures.total_seconds(n) for n in (1, 3, 10)] == [80.0, 40.0, 26.0]


def test_without_an_accelerator_there_is_no_peak_of_it():
    assert source().device_mb is None


@pytest.mark.parametrize(
    ("values", "others", "apart"),
    [
        ((0.1, 0.2), (0.3, 0.4), True),
        ((0.3, 0.4), (0.1, 0.2), True),
        ((0.1, 0.3), (0.2, 0.4), False),
        ((0.1, 0.4), (0.2, 0.3), False),
        ((0.1, 0.2), (0.2, 0.3), False),
    ],
)
def test_two_spreads_are_apart_where_no_value_of_one_is_among_the_other(values, others, apart):
    assert Spread.of(values).apart_from(Spread.of(others)) == apart
