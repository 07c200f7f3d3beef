"""What is read of a run while it trains, whatever is in its folder."""

import json
import math

import pytest

from fdet.pipeline.tools.watching import readings
from fdet.pipeline.tools.watching.readings import POINTS, STILL, Reader, thinned

from ..reporting.made_up import CLASSES, epoch_lines, write_run


def read(run, now=None):
    changed = (run / "metrics.jsonl").stat().st_mtime if now is None else now
    return Reader(lambda: changed).read(run)


def test_a_finished_run(tmp_path):
    found = read(write_run(tmp_path / "run", 0.4))
    assert (found.state, found.step, found.epoch, found.epochs) == ("finished", 30, 3, 3)
    assert found.best == (3, pytest.approx(0.4)) and found.left is None
    assert [step for step, _ in found.aps] == [10, 20, 30]
    assert found.losses[0] == (10, pytest.approx(2 - 1 / 3))
    assert found.rates == ((10, 1e-3), (20, 1e-3), (30, 1e-3))


def test_the_time_left_follows_from_the_epochs_that_are_over(tmp_path):
    run = write_run(tmp_path / "run", epochs=4, reached=2, seconds=10.0)
    found = read(run)
    assert found.state == "training"
    assert found.left == pytest.approx(2 * 5.0)  # two epochs at the speed of the second one
    first = write_run(tmp_path / "first", epochs=4, reached=1)
    assert read(first).left is None


def test_a_run_whose_log_is_still_is_not_called_training(tmp_path):
    run = write_run(tmp_path / "run", reached=2)
    changed = (run / "metrics.jsonl").stat().st_mtime
    assert read(run, changed + STILL - 1).state == "training"
    assert read(run, changed + STILL + 1).state == "unfinished"


def test_a_run_that_has_only_begun(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "metrics.jsonl").unlink()
    (run / "last.safetensors").unlink()
    found = read(run, 0.0)
    assert (found.step, found.epoch, found.losses, found.best) == (0, 0, (), None)


def test_a_run_that_diverged_says_so(tmp_path):
    run = write_run(tmp_path / "run", reached=1)
    line = next(epoch_lines(2, 3, 0.4, 1.0, 1, CLASSES))
    line = {name: value for name, value in line.items() if name not in ("loss", "losses")}
    with (run / "metrics.jsonl").open("a") as log:
        log.write(json.dumps({**line, "diverged": "nan"}) + "\n")
    found = read(run)
    assert (found.state, found.note) == ("diverged", "nan")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", "{"),
        ("run.json", "[" * 100_000),
        ("metrics.jsonl", "no JSON\n"),
        ("metrics.jsonl", '{"kind": "train", "step": 1, "epoch": 1, "lr": "x"}\n'),
        ("metrics.jsonl", '{"kind": "train", "step": 1, "epoch": 1, "lr": -1}\n'),
        ("metrics.jsonl", f'{{"kind": "train", "step": {2**60}, "epoch": 1}}\n'),
        ("last.safetensors", "no checkpoint"),
    ],
)
def test_a_damaged_or_foreign_run_says_why(tmp_path, name, content):
    run = write_run(tmp_path / "run")
    (run / name).write_text(content)
    found = read(run)
    assert found.state == "unreadable" and found.note and not found.losses


def test_figures_that_are_no_numbers_are_left_out_of_the_curves(tmp_path):
    run = write_run(tmp_path / "run")
    text = (run / "metrics.jsonl").read_text()
    text = text.replace('"loss": 1.0', '"loss": NaN').replace('"ap": 0.4,', '"ap": Infinity,')
    (run / "metrics.jsonl").write_text(text)
    found = read(run)
    assert len(found.losses) == 2 and len(found.aps) == 2
    assert math.isfinite(found.best[1])


def test_a_run_is_read_again_only_where_it_has_changed(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", reached=1)
    calls = []
    genuine = readings.read_history
    monkeypatch.setattr(readings, "read_history", lambda run: calls.append(run) or genuine(run))
    now = (run / "metrics.jsonl").stat().st_mtime
    reader = Reader(lambda: now)
    assert reader.read(run) == reader.read(run) and len(calls) == 1
    with (run / "metrics.jsonl").open("a") as log:
        log.write("".join(json.dumps(x) + "\n" for x in epoch_lines(2, 3, 0.4, 1, 1, CLASSES)))
    assert reader.read(run).epoch == 2 and len(calls) == 2


def test_curves_are_thinned_to_means_of_neighbours():
    found = thinned((k, float(k % 2)) for k in range(10 * POINTS))
    assert len(found) == POINTS and found[-1] == (10 * POINTS - 1, 0.5)
    assert thinned([(1, 2.0), (2, None), (3, math.inf)]) == ((1, 2.0),)
    assert thinned([(1, 1.7e308), (2, 1.7e308)], 1) == ((2, 1.7e308),)
