"""What a run tells, when it ends, and settings that change how it computes but not what."""

import os
import subprocess
from dataclasses import replace

import pytest
import torch

from fdet.cache.errors import FdetError
from fdet.pipeline.evaluation.coco import Metrics
from fdet.pipeline.runs import metrics_log
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.position import read_position
from fdet.pipeline.tools.reporting.records import read_records
from fdet.pipeline.training import loop as loop_module
from fdet.pipeline.training import validation
from fdet.pipeline.training.step import Stepper
from fdet.pipeline.training.train import train

from .runs import (
    SHARED,
    TINY,
    assert_close,
    assert_same,
    lines,
    losses,
    options,
    part,
    tensors,
    tiny,
)

# Of weights after six steps: float32 sums in another order, divided by AdamW's tiny second moments.
ROUNDING = 5e-2


@pytest.fixture(scope="module")
def plain(live_cache, tmp_path_factory):
    """By head: a run with the default ways of computing."""
    folder = tmp_path_factory.mktemp("plain")
    for head in TINY:
        train(tiny(head), options(live_cache, folder / head))
    return folder


def figures(ap):
    nothing = dict.fromkeys(Metrics.__dataclass_fields__, None)
    return Metrics(**{**nothing, "ap": ap, "per_class": {}, "images": 12})


def scripted(monkeypatch, aps):
    """Evaluations that find what they are told, one after the other."""
    told = iter(aps)
    monkeypatch.setattr(validation, "coco_metrics", lambda *arguments, **more: figures(next(told)))


def test_hooks_see_every_line_of_the_log_and_what_was_found(live_cache, tmp_path):
    events, again = [], []
    hooks = (events.append, lambda event: again.append((event.kind, event.step)))
    config = tiny("retinanet", "head.score_threshold=0.001")
    train(config, options(live_cache, tmp_path / "run", val=live_cache, hooks=hooks))
    assert [dict(event.line) for event in events] == metrics_log.read(tmp_path / "run")
    assert again == [("train", 3), ("eval", 3), ("train", 6), ("eval", 6)]
    for event in events:
        assert len(event.detections) == (12 if event.kind == "eval" else 0)
    found = list(events[1].detections.values())
    assert sum(len(d.scores) for d in found) > 12
    assert all(d.boxes.device.type == "cpu" for d in found)


def test_what_a_hook_raises_ends_the_run_and_loses_no_step(live_cache, tmp_path):
    def failing(event):
        if event.kind == "eval":
            raise FdetError("the logger is gone")

    started = options(live_cache, tmp_path / "run", val=live_cache, hooks=[failing])
    with pytest.raises(FdetError, match="the logger is gone"):
        train(tiny(), started)
    train(tiny(), replace(started, hooks=(), resume=True))
    steps = [(line["kind"], line["step"]) for line in metrics_log.read(tmp_path / "run")]
    assert steps == [("train", 3), ("eval", 3), ("train", 6), ("eval", 6)]


def test_patience_counts_evaluations_without_a_better_ap(live_cache, tmp_path, monkeypatch):
    scripted(monkeypatch, [0.1, 0.3, 0.2, None, 0.3, 0.9])
    config = tiny("retinanet", "train.epochs=12", "train.eval_every=2", "train.patience=3")
    started = options(live_cache, tmp_path / "run", val=live_cache)
    summary = train(config, started)
    assert [line["epoch"] for line in lines(tmp_path / "run", "eval")] == [2, 4, 6, 8, 10]
    assert (summary.steps, summary.best_ap, summary.best_epoch) == (30, 0.3, 4)
    assert (tmp_path / "run" / "curve.png").is_file()
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    resumed = train(config, replace(started, resume=True))
    assert (resumed.steps, resumed.best_ap, resumed.metrics) == (30, 0.3, None)
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


@pytest.mark.parametrize(("every", "evaluated"), [(1, [2, 3, 5]), (2, [2, 5]), (5, [5])])
def test_of_few_images_an_epoch_may_have_no_step(
    every, evaluated, live_cache, tmp_path, monkeypatch
):
    """12 images in batches of 16: the epochs 1 and 5 fill none, and what is due after 5 follows 4."""
    scripted(monkeypatch, [0.1, 0.2, 0.3])
    config = tiny("retinanet", "train.batch_size=16", "train.epochs=5", f"train.eval_every={every}")
    summary = train(config, options(live_cache, tmp_path / "run", val=live_cache))
    trained = [(line["epoch"], line["step"]) for line in lines(tmp_path / "run", "train")]
    assert trained == [(2, 1), (3, 2), (4, 3)]
    assert [line["epoch"] for line in lines(tmp_path / "run", "eval")] == evaluated
    assert (summary.steps, summary.best_epoch) == (3, 5)
    (record,) = read_records([tmp_path / "run"])
    assert (record.state, record.figures["epochs"]) == ("finished", 5)


def test_a_step_is_made_of_a_whole_batch_or_of_all_there_is(live_cache, tmp_path, monkeypatch):
    sizes, original = [], Stepper.step

    def counting(stepper, batches, size, number, total):
        sizes.append(size)
        return original(stepper, batches, size, number, total)

    monkeypatch.setattr(Stepper, "step", counting)
    for size, epochs in ((5, 2), (7, 3), (32, 2)):
        settings = (f"train.batch_size={size}", f"train.epochs={epochs}")
        train(tiny("retinanet", *settings), options(live_cache, tmp_path / str(size)))
    assert sizes == [5] * 4 + [7] * 5 + [24]


def test_patience_is_remembered_over_an_interruption(live_cache, tmp_path, monkeypatch):
    scripted(monkeypatch, [0.5, 0.4, 0.4, 0.9])
    config = tiny("retinanet", "train.epochs=9", "train.patience=2")
    started = options(live_cache, tmp_path / "run", val=live_cache)
    original = Stepper.step

    def interrupted(stepper, batches, size, number, total):
        if number == 7:
            raise FdetError("gone")
        return original(stepper, batches, size, number, total)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", interrupted)
        with pytest.raises(FdetError, match="gone"):
            train(config, started)
    assert train(config, replace(started, resume=True)).steps == 9


def test_the_first_evaluation_is_the_best_so_far_even_if_it_found_nothing(
    live_cache, tmp_path, monkeypatch
):
    scripted(monkeypatch, [None, 0.0])
    summary = train(tiny(), options(live_cache, tmp_path / "run", val=live_cache))
    assert (summary.best_ap, summary.best_epoch) == (0.0, 1)


def test_evaluating_leaves_the_weights_in_training_alone(plain, live_cache, tmp_path):
    train(tiny(), options(live_cache, tmp_path / "run", val=live_cache))
    assert_same(
        part(tensors(tmp_path / "run"), "model."), part(tensors(plain / "retinanet"), "model.")
    )


@pytest.mark.parametrize("head", TINY)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains(precision, head, live_cache, tmp_path):
    settings = ("train.epochs=8", "optim.lr=0.005", "schedule.warmup_steps=0")
    config = tiny(head, f"train.precision={precision}", *settings)
    train(config, options(live_cache, tmp_path / "run", val=live_cache))
    totals = [line["loss"] for line in lines(tmp_path / "run", "train")]
    assert totals[-1] < 0.9 * totals[0]
    assert all(bool(torch.isfinite(v).all()) for v in tensors(tmp_path / "run").values())
    assert all(v.dtype in (torch.float32, torch.int64) for v in tensors(tmp_path / "run").values())


@pytest.mark.parametrize("head", TINY)
def test_activations_that_are_computed_again_change_nothing(head, plain, live_cache, tmp_path):
    config = tiny(head, "train.checkpoint_activations=true")
    train(config, options(live_cache, tmp_path / "run"))
    for mine, theirs in zip(losses(tmp_path / "run"), losses(plain / head), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)
    assert_close(_weights(tmp_path / "run"), _weights(plain / head), ROUNDING)


@pytest.mark.parametrize("head", TINY)
def test_channels_last_changes_roundings_alone(head, plain, live_cache, tmp_path):
    train(tiny(head, "train.channels_last=true"), options(live_cache, tmp_path / "run"))
    assert_close(_weights(tmp_path / "run"), _weights(plain / head), ROUNDING)


def test_channels_last_and_a_backbone_that_is_trained(live_cache, images, tmp_path):
    more = {"source": "finetune", "images": images}
    for name, turned in (("a", "false"), ("b", "true")):
        config = tiny("retinanet", f"train.channels_last={turned}", "train.epochs=1")
        train(config, options(live_cache, tmp_path / name, **more))
    assert_close(_weights(tmp_path / "a"), _weights(tmp_path / "b"), ROUNDING)


@pytest.mark.slow
def test_compiled_parts_change_roundings_alone(live_cache, warm, tmp_path):
    """In a process of its own: a compiler warns of what it likes. Of two levels, which differ in size."""
    few = "neck.min_level=4"
    train(tiny("retinanet", few), options(live_cache, tmp_path / "plain"))
    chosen = _settings(few, "train.compile=true")
    words = [word for setting in chosen for word in ("--set", setting)]
    command = [warm.fdet, "train-heads", live_cache, "--out", tmp_path / "run"]
    command += ["--head", "retinanet", "--threads", 1]
    # As it is in the process that this one is a fork of.
    here = {**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    subprocess.run([*map(str, command), *words], check=True, timeout=500, env=here)
    assert_close(_weights(tmp_path / "run"), _weights(tmp_path / "plain"), ROUNDING)


@pytest.mark.parametrize("head", TINY)
def test_accumulation_changes_roundings_alone(head, plain, live_cache, tmp_path):
    train(tiny(head, "train.accumulate=4"), options(live_cache, tmp_path / "run"))
    for mine, theirs in zip(losses(tmp_path / "run")[:1], losses(plain / head)[:1], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)
    assert_close(_weights(tmp_path / "run"), _weights(plain / head), ROUNDING)


@pytest.mark.parametrize("name", ["cosine", "step", "onecycle"])
def test_the_log_has_the_rate_of_the_schedule(name, live_cache, tmp_path):
    config = tiny("retinanet", f"schedule.name={name}", "optim.lr=0.01")
    rates = []
    original = torch.optim.AdamW.step

    def watching(optimiser, *arguments, **more):
        rates.append({group["lr"] for group in optimiser.param_groups})
        return original(optimiser, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", watching)
        train(config, options(live_cache, tmp_path / "run"))
    assert [{line["lr"]} for line in lines(tmp_path / "run", "train")] == [rates[2], rates[5]]
    assert len(set(map(frozenset, rates))) > 1


def _settings(*more):
    return [*SHARED, *TINY["retinanet"], *more]


def _weights(run):
    return part(tensors(run), "model.")


@pytest.mark.parametrize("call", ["draw_curve", "save_state"])
@pytest.mark.parametrize("evaluated", [True, False])
def test_a_kill_at_the_end_leaves_no_run_without_its_curve_or_weights(
    call, evaluated, live_cache, tmp_path, monkeypatch
):
    """Right before the curve is drawn, and right before the run is called finished."""

    class Killed(Exception):
        pass

    def killed(*arguments):
        if call == "draw_curve" or arguments[3].finished:
            raise Killed
        original(*arguments)

    started = options(live_cache, tmp_path / "run", val=live_cache if evaluated else None)
    original = getattr(loop_module, call)
    with monkeypatch.context() as patch:
        patch.setattr(loop_module, call, killed)
        with pytest.raises(Killed):
            train(tiny(), started)
    info = RunInfo.read(started.out)
    assert not read_position(started.out / "last.safetensors", info).finished
    assert train(tiny(), replace(started, resume=True)).steps == 6
    assert read_position(started.out / "last.safetensors", info).finished
    assert (started.out / "curve.png").is_file() and (started.out / "best.safetensors").is_file()


def test_a_finished_run_gets_its_curve_back_and_tells_of_lost_weights(
    live_cache, tmp_path, monkeypatch, caplog
):
    scripted(monkeypatch, [0.3, 0.2])
    started = options(live_cache, tmp_path / "run", val=live_cache)
    train(tiny(), started)
    before = (started.out / "last.safetensors").read_bytes()
    (started.out / "curve.png").unlink()
    train(tiny(), replace(started, resume=True))
    assert (started.out / "curve.png").is_file()
    assert [m for m in caplog.messages if "missing" in m] == []
    (started.out / "best.safetensors").unlink()
    train(tiny(), replace(started, resume=True))
    (told,) = [message for message in caplog.messages if "missing" in message]
    assert "best.safetensors is missing, the weights of epoch 1" in told
    assert "the best AP (30.0)" in told
    assert f"`fdet evaluate {started.out} {live_cache} --checkpoint last`" in told
    assert (started.out / "last.safetensors").read_bytes() == before


def test_where_nothing_was_evaluated_lost_weights_come_back(live_cache, tmp_path, caplog):
    config = tiny("retinanet", "train.average=0.5")
    started = options(live_cache, tmp_path / "run")
    train(config, started)
    before = (started.out / "best.safetensors").read_bytes()
    (started.out / "best.safetensors").unlink()
    train(config, replace(started, resume=True))
    assert (started.out / "best.safetensors").read_bytes() == before
    assert [m for m in caplog.messages if "missing" in m] == []
