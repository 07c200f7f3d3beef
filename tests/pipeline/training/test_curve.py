"""curve.png: drawn while a run trains, not too often, and never a reason for it to end."""

import io
import json
import logging

import numpy as np
import pytest
from PIL import Image

from fdet.cache.disk.publish import publish_bytes
from fdet.pipeline.runs.history import Evaluation, Steps, read_history
from fdet.pipeline.training import curve as curves
from fdet.pipeline.training.curve import CURVE, FIRST_SECONDS, LARGEST_SHARE, curve_hook, draw_curve
from fdet.pipeline.watching.events import Event


def steps(step, epoch=1, lr=0.01):
    return Steps(step, epoch, 2.0, {"box": 1.0, "class": 1.0}, 1.0, 30.0, 0.1, 800, None, lr=lr)


def train(epoch):
    return Event({"kind": "train", "step": 10 * epoch, "epoch": epoch})


@pytest.fixture
def drawn(monkeypatch):
    """The curves that a hook draws, each of which takes a second of a clock of the test's own."""
    now, paths = [0.0], []

    def draw(history, path):
        paths.append(path.name)
        now[0] += 1.0

    monkeypatch.setattr(curves, "draw_curve", draw)
    monkeypatch.setattr(curves, "read_history", lambda run: [])
    return now, paths


def test_a_curve_is_drawn_after_evaluations_and_epochs_but_takes_a_small_share(drawn, tmp_path):
    now, paths = drawn
    hook = curve_hook(tmp_path, lambda: now[0])
    evaluated = Event({"kind": "eval", "step": 10, "epoch": 1})
    hook(evaluated)
    assert paths == [], "matplotlib would cost more than the first seconds of a run"
    now[0] = FIRST_SECONDS
    hook(train(1))
    assert paths == [], "an epoch is not over"
    hook(train(2))
    assert paths == [CURVE]
    hook(evaluated)
    assert paths == [CURVE], "it has just been drawn"
    now[0] += 1.0 / LARGEST_SHARE
    hook(evaluated)
    assert paths == [CURVE, CURVE]


def test_a_curve_that_cannot_be_drawn_is_one_warning(tmp_path, caplog):
    (tmp_path / "metrics.jsonl").write_text("no log\n")
    now = [0.0]
    hook = curve_hook(tmp_path, lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            now[0] += 1000.0
            hook(Event({"kind": "eval", "step": 10, "epoch": 1}))
    assert len(caplog.records) == 1 and CURVE in caplog.text


def pixels(path):
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        return np.asarray(image.convert("RGB"))


def test_a_plot_each_for_what_is_known_one_above_the_other(tmp_path):
    evaluations = [Evaluation(10 * k, k, {"ap": k / 10, "ap50": k / 5}) for k in (1, 2, 3)]
    heights = []
    for name, history in {
        "nothing": [],
        "losses": [steps(10, lr=None), steps(20, lr=None)],
        "rates": [steps(10), steps(20)],
        "all": [steps(10), *evaluations, steps(40)],
    }.items():
        draw_curve(history, tmp_path / f"{name}.png")
        heights.append(pixels(tmp_path / f"{name}.png").shape[0])
    assert heights[0] == heights[1] < heights[2] < heights[3]


def test_legends_stand_beside_the_plots(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    seen = []

    def saved(figure, *args, **more):
        figure.draw_without_rendering()
        for axes in figure.axes:
            if axes.get_legend() is not None:
                seen.append(axes.get_legend().get_window_extent().x0 - axes.get_window_extent().x1)

    monkeypatch.setattr(Figure, "savefig", saved)
    draw_curve([steps(10), Evaluation(10, 1, {"ap": None, "ap50": 0.5})], tmp_path / CURVE)
    assert len(seen) == 2 and min(seen) >= 0


def test_an_older_curve_is_replaced_and_rates_come_from_the_log(tmp_path):
    publish_bytes(tmp_path / CURVE, b"older")
    line = {"kind": "train", "step": 1, "epoch": 1, "lr": 0.25, "seconds": 1.0}
    line |= {"images_per_second": 1.0, "waiting": 0.0, "process_memory_mb": 1}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    history = read_history(tmp_path)
    assert history[0].lr == 0.25
    draw_curve(history, tmp_path / CURVE)
    assert pixels(tmp_path / CURVE).size
    assert [path.name for path in tmp_path.glob("*.png")] == [CURVE]
