"""What is extracted and trained: the rungs in order, and the arithmetic of their costs."""

from dataclasses import replace

import pytest

from fdet.pipeline.dataset.images.views import parse_views
from fdet.pipeline.tools.fitting.canvas import Canvas
from fdet.pipeline.tools.fitting.ladder import (
    CODECS,
    PLAIN,
    SIX,
    THREE,
    Costs,
    Rates,
    Rung,
    Work,
    cache_bytes,
    codec_that_fits,
    costs_of,
    fits,
    ladder,
    length_within,
    seconds_needed,
    views_for,
)

BASE = Canvas(480, 640)
BYTES = {"int5": 100.0, "int5+pca": 90.0, "int4": 70.0, "int4+pca": 60.0}
RATES = Rates(BASE, sample=0.5, bytes=BYTES, free=1e9, start=10.0, train_start=20.0)
WORK = Work(
    images=100, val_images=20, trained=100, batch_size=4, minimum_steps=1500, maximum_epochs=120
)


def rungs(canvas=BASE, views=SIX, *, sizes=True, fewer=True, heads=False):
    return list(ladder(canvas, views, sizes=sizes, fewer=fewer, heads=heads))


@pytest.mark.parametrize(("views", "count"), [(SIX, 6), (THREE, 3), (PLAIN, 1)])
def test_the_views_are_views(views, count):
    parsed = parse_views(views)
    assert len(parsed) == count and parsed[0].name == "plain"


def test_many_images_need_fewer_views():
    assert [views_for(n) for n in (1, 5_000, 5_001, 20_000, 20_001)] == [
        SIX,
        SIX,
        THREE,
        THREE,
        PLAIN,
    ]


def test_the_first_rung_is_what_was_chosen_and_the_last_the_cheapest():
    found = rungs()
    assert found[0] == Rung(BASE, SIX) and found[-1] == Rung(BASE.scaled(0.5), PLAIN)
    assert len(found) == len(set(found)) == 9
    cost = [seconds_needed(costs_of(r, WORK, RATES, 0.4), 1500) for r in found]
    assert cost[0] == max(cost) and cost[-1] == min(cost)


def test_each_rung_has_a_smaller_detector_where_that_may_be_chosen():
    found = rungs(heads=True)
    assert [r for r in found if not r.small] == rungs()
    assert found[1::2] == [replace(r, small=True) for r in rungs()]


def test_what_was_asked_for_stays():
    assert {r.canvas for r in rungs(sizes=False)} == {BASE}
    assert [r.views for r in rungs(sizes=False)] == [SIX, THREE, PLAIN]
    asked = "plain,vflip,crop=0.5x2"
    kept = rungs(views=asked, fewer=False)
    assert [(r.canvas.short, r.views) for r in kept] == [(480, asked), (352, asked), (256, asked)]
    assert rungs(views=asked, sizes=False, fewer=False) == [Rung(BASE, asked)]
    own = Canvas(100, 140)
    assert rungs(own, sizes=False, fewer=False) == [Rung(own, SIX)]


def test_a_rung_has_no_more_views_than_the_first():
    assert {r.views for r in rungs(views=THREE)} == {THREE, PLAIN}
    assert {r.views for r in rungs(views=PLAIN)} == {PLAIN}


def test_no_canvas_becomes_too_small():
    assert {r.canvas.short for r in rungs(Canvas(160, 224))} == {160, 128}
    assert {r.canvas.short for r in rungs(Canvas(128, 192))} == {128}


def test_the_size_of_the_caches_is_that_of_all_samples():
    assert cache_bytes(Rung(BASE, SIX), WORK, RATES, "int5") == 620 * 100
    half = Rung(Canvas(240, 320), PLAIN)
    assert cache_bytes(half, WORK, RATES, "int4") == pytest.approx(120 * 70 / 4)


@pytest.mark.parametrize(
    ("room", "codec"),
    [
        (62_000, "int5"),
        (61_999, "int5+pca"),
        (50_000, "int4"),
        (40_000, "int4+pca"),
        (30_000, None),
    ],
)
def test_the_codec_is_the_finest_that_there_is_room_for(room, codec):
    assert codec_that_fits(Rung(BASE, SIX), WORK, RATES, CODECS, room) == codec


def test_costs_follow_the_pixels_the_views_and_the_images():
    whole = costs_of(Rung(BASE, SIX), WORK, RATES, 0.4)
    assert whole.extraction == pytest.approx(2 * 10 + (600 + 20 + 32) * 0.5)
    assert whole.step == 0.4
    assert whole.evaluation == pytest.approx(0.5 * 0.4 * 20 / 4)
    assert whole.after == pytest.approx(20 + 3 * 10 + whole.evaluation + 12 * 0.5)
    half = costs_of(Rung(Canvas(240, 320), PLAIN), WORK, RATES, 0.4)
    assert half.extraction == pytest.approx(2 * 10 + (100 + 20 + 32) * 0.125)
    assert half.step == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("evaluation", "seconds", "expected"),
    [
        (1.0, 110.0, (100.0, 10)),  # ten evaluations are 9 %
        (0.0, 110.0, (110.0, 10)),
        (5.0, 100.0, (80.0, 4)),  # a fifth of the time
        (20.0, 100.0, (60.0, 2)),  # at least two
        (60.0, 100.0, (0.0, 2)),
        (1.0, -5.0, (0.0, 2)),
    ],
)
def test_evaluations_have_at_most_a_fifth_of_the_time(evaluation, seconds, expected):
    assert length_within(Costs(0, 1.0, evaluation, 0), seconds) == expected


@pytest.mark.parametrize("evaluation", [0.0, 0.5, 4.0, 40.0, 400.0])
@pytest.mark.parametrize("steps", [200, 1500, 20_000])
def test_the_time_that_is_needed_is_enough_and_little_less_is_not(evaluation, steps):
    costs = Costs(100.0, 0.5, evaluation, 30.0)
    work = replace(WORK, minimum_steps=steps)
    needed = seconds_needed(costs, steps)
    # Evaluations come whole: one more or less of them makes the difference.
    assert fits(costs, work, needed + evaluation + 1e-6)
    assert not fits(costs, work, needed - evaluation - 1)
