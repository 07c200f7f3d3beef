"""A run's log as values, and whether the run is finished."""

import json

import pytest

from fdet.cache.errors import CorruptCache
from fdet.pipeline.runs import metrics_log
from fdet.pipeline.runs.history import (
    Evaluation,
    Steps,
    evaluation_after,
    evaluations_of,
    has_ended,
    is_finished,
    read_history,
    steps_of,
)
from fdet.pipeline.runs.info import RunInfo

from ..tools.reporting.made_up import write_run

TRAIN = {
    **{"kind": "train", "step": 2, "epoch": 1, "loss": 0.75, "losses": {"box": 0.5, "class": 0.25}},
    **{"lr": 0.1, "seconds": 2.0, "images_per_second": 4.0, "waiting": 0.1},
    "process_memory_mb": 900,
}
# No step had a loss.
WITHOUT = {name: value for name, value in TRAIN.items() if name not in ("loss", "losses")}
EVAL = {"kind": "eval", "step": 2, "epoch": 1, "metrics": {"ap": None, "per_class": {"disc": None}}}


def write(run, *lines):
    (run / metrics_log.NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_lines_become_values_in_their_order(tmp_path):
    write(tmp_path, TRAIN, EVAL, {**WITHOUT, "device_memory_mb": 70})
    history = read_history(tmp_path)
    first, evaluation, last = history
    assert first == Steps(2, 1, 0.75, {"box": 0.5, "class": 0.25}, 2.0, 4.0, 0.1, 900, None, lr=0.1)
    assert (first.loss, last.loss, last.device_memory_mb) == (0.75, None, 70)
    assert evaluation == Evaluation(2, 1, EVAL["metrics"]) and evaluation.ap == 0.0
    assert (steps_of(history), evaluations_of(history)) == ([first, last], [evaluation])
    assert (evaluation_after(history, 1), evaluation_after(history, 2)) == (evaluation, None)


def test_steps_whose_loss_was_not_finite_say_so(tmp_path):
    write(tmp_path, {**WITHOUT, "diverged": "nan"}, WITHOUT)
    first, last = read_history(tmp_path)
    assert (first.loss, first.diverged, last.diverged) == (None, "nan", "")


def test_a_run_that_has_not_begun_has_none(tmp_path):
    assert read_history(tmp_path / "absent") == []


@pytest.mark.parametrize(
    "line",
    [
        {"kind": "train", "step": 1},
        {**TRAIN, "losses": [0.5]},
        {**TRAIN, "diverged": True},
        {**TRAIN, "losses": {"box": "much"}},
        {**EVAL, "metrics": {}},
        {**EVAL, "metrics": {"ap": {}, "per_class": {}}},
        {**EVAL, "metrics": {"ap": 0.5, "per_class": []}},
    ],
)
def test_a_line_that_fdet_did_not_write_is_refused(line, tmp_path):
    write(tmp_path, TRAIN, line)
    with pytest.raises(CorruptCache, match=r"metrics\.jsonl: a line was not written by fdet"):
        read_history(tmp_path)


def test_a_run_is_finished_when_its_checkpoint_says_so(tmp_path):
    run = write_run(tmp_path / "run")
    assert is_finished(run)
    (run / "last.safetensors").unlink()
    assert not is_finished(run)


@pytest.mark.parametrize(
    ("settings", "reached", "ended"),
    [([], None, True), ([], 2, False), (["train.patience=1"], 2, False)],
)
def test_without_its_checkpoint_the_log_says_whether_a_run_has_ended(
    settings, reached, ended, tmp_path
):
    run = write_run(tmp_path / "run", settings=settings, reached=reached)
    info = RunInfo.read(run)
    assert has_ended(run, info, read_history(run)) == ended
    (run / "last.safetensors").unlink()
    assert has_ended(run, info, read_history(run)) == ended


def test_a_run_that_its_patience_has_ended_is_at_its_end(tmp_path):
    run = write_run(tmp_path / "run", settings=["train.patience=1"], epochs=9, reached=2)
    (run / "last.safetensors").unlink()
    worse = {**EVAL, "epoch": 3, "metrics": {"ap": 0.1, "per_class": {}}}
    history = [*read_history(run), Evaluation(3, 3, worse["metrics"])]
    assert has_ended(run, RunInfo.read(run), history)


def test_a_run_that_evaluates_nothing_is_at_its_end_once_its_weights_are_kept(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "last.safetensors").unlink()
    assert has_ended(run, RunInfo.read(run), [])
    (run / "best.safetensors").unlink()
    assert not has_ended(run, RunInfo.read(run), [])
