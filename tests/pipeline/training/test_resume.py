"""A run that was stopped anywhere and resumed is the run that was not, bit for bit."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace

import pytest
from PIL import Image, ImageOps

from fdet.cache.errors import CorruptCache, InputError
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.extraction import creation
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.extraction.layout import plan_layout
from fdet.pipeline.runs.checkpoint import load_state
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.model import Model
from fdet.pipeline.tools.ablation.state import is_finished
from fdet.pipeline.tools.comparison.runs import Run
from fdet.pipeline.tools.reporting.records import read_records
from fdet.pipeline.training import loop as loop_module
from fdet.pipeline.training import validation
from fdet.pipeline.training.optimiser import make_optimiser
from fdet.pipeline.training.step import Stepper
from fdet.pipeline.training.train import train

from ...conftest import extraction
from .runs import SHARED, TINY, assert_same, lines, options, tensors, tiny

# Every setting that has a state of its own, or changes what a step needs of the steps before it.
WAYS = {
    "plain": (),
    "sgd": ("optim.name=sgd",),
    "average": ("train.average=0.9",),
    "fp16": ("train.precision=fp16",),
    "bf16": ("train.precision=bf16",),
    "accumulated": ("train.accumulate=3",),
    "threads": ("train.workers=3", "train.prefetch=2"),
    "channels last": ("train.channels_last=true",),
    "one cycle": ("schedule.name=onecycle",),
    "early stopping": ("train.patience=1",),
}
LIVE = {
    "finetune": ("backbone.train_from=c4", "train.average=0.5"),
    "finetune, norms too": ("backbone.train_from=c4", "backbone.norm=batch"),
    "scratch": ("train.accumulate=2",),
}


BACKBONE = {"backbone": "test_efficientnet", "weights": "random", "levels": "c3,c4,c5"}


class Torn(Exception):
    pass


def torn(config, started, step, monkeypatch):
    """Nothing is told, as by SIGKILL: the error comes instead of a step."""
    original = Stepper.step

    def tearing(stepper, batches, size, number, total):
        if number == step:
            raise Torn
        return original(stepper, batches, size, number, total)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", tearing)
        with pytest.raises(Torn):
            train(config, started)


@pytest.fixture(autouse=True)
def a_line_a_step(monkeypatch):
    """A run is saved at the lines of its log."""
    monkeypatch.setattr(loop_module, "LOG_EVERY_STEPS", 1)


def check(config, started, steps, monkeypatch):
    whole = replace(started, out=started.out / "whole")
    pieces = replace(started, out=started.out / "torn")
    train(config, whole)
    for count, step in enumerate(steps):
        torn(config, replace(pieces, resume=count > 0), step, monkeypatch)
    train(config, replace(pieces, resume=True))
    assert_same(tensors(pieces.out), tensors(whole.out))
    assert_same(tensors(pieces.out, "best"), tensors(whole.out, "best"))
    evaluations = [lines(run.out, "eval") for run in (whole, pieces)]
    assert evaluations[0] == evaluations[1]


@pytest.mark.parametrize("way", WAYS)
def test_torn_in_the_middle_of_an_epoch(way, live_cache, tmp_path, monkeypatch):
    """Saved after every step, and torn in the first epoch and in the second."""
    config = tiny("retinanet", "train.save_minutes=0", *WAYS[way])
    started = options(live_cache, tmp_path, val=live_cache)
    check(config, started, [2, 4], monkeypatch)


@pytest.mark.parametrize("regression", ["direct", "distribution"])
def test_a_query_head_draws_its_noise_again(regression, live_cache, tmp_path, monkeypatch):
    small = ("head.queries=20", "head.layers=2", "head.ffn_channels=16", "head.groups=1")
    shared = [one for one in SHARED if not one.startswith("head.norm=")]
    own = ("train.save_minutes=0", "neck.ffn_channels=16", "neck.blocks=1")
    assignments = [*shared, *own, *small, f"head.regression={regression}"]
    config = load_config(neck="hybrid", head="query", assignments=assignments)
    check(config, options(live_cache, tmp_path, val=live_cache), [2, 4], monkeypatch)


@pytest.mark.parametrize("way", LIVE)
def test_with_a_backbone_that_is_trained(way, live_cache, images, tmp_path, monkeypatch):
    config = tiny("retinanet", "train.save_minutes=0", *LIVE[way])
    source = way.partition(",")[0]
    started = options(live_cache, tmp_path, source=source, images=images)
    check(config, started, [4], monkeypatch)


def test_what_was_not_saved_is_done_again(live_cache, tmp_path, monkeypatch):
    config = tiny("faster-rcnn", "train.average=0.9")
    check(config, options(live_cache, tmp_path), [1, 5], monkeypatch)


@pytest.mark.parametrize("name", ["save_state", "save_weights"])
def test_torn_right_after_a_file_was_written(name, live_cache, tmp_path, monkeypatch):
    """Whichever: every state that ever stood on the disk is one to go on from."""
    config = tiny("retinanet", "train.save_minutes=0", "train.average=0.9")
    started = options(live_cache, tmp_path / "whole", val=live_cache)
    train(config, started)
    original = getattr(loop_module, name)
    for last in range(1, 20):
        calls = 0

        def tearing(*arguments, last=last):
            nonlocal calls
            original(*arguments)
            calls += 1
            if calls == last:
                raise Torn

        pieces = replace(started, out=tmp_path / str(last))
        try:
            with monkeypatch.context() as patch:
                patch.setattr(loop_module, name, tearing)
                train(config, pieces)
        except Torn:
            pieces = replace(pieces, resume=True)
            train(config, pieces)
            assert_same(tensors(pieces.out), tensors(started.out))
            assert_same(tensors(pieces.out, "best"), tensors(started.out, "best"))
            assert lines(pieces.out, "eval") == lines(started.out, "eval")
        else:
            break
    assert last - 1 == calls > (5 if name == "save_state" else 0)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_shards_that_are_shuffled_give_every_epoch_as_many_steps(
    window, dataset, tmp_path, monkeypatch
):
    """12 images in shards of 5, 5 and 2: what shares a window differs from epoch to epoch."""
    cache = tmp_path / "uneven.fdet"

    def by_five(*arguments):
        layout = plan_layout(*arguments)
        return replace(
            layout, buckets=tuple(replace(b, images_per_shard=5) for b in layout.buckets)
        )

    with monkeypatch.context() as patch:
        patch.setattr(creation, "plan_layout", by_five)
        extract(extraction(dataset, cache, size=64, codec="fp32", **BACKBONE))
    settings = (f"train.shuffle_shards={window}", "train.batch_size=2", "train.epochs=7")
    config = tiny("retinanet", "train.save_minutes=0", *settings)
    started = options(cache, tmp_path)
    check(config, started, [10, 29], monkeypatch)
    steps = [line["step"] for line in lines(tmp_path / "whole", "train")]
    assert steps == list(range(1, 7 * 6 + 1))


def test_saves_in_the_middle_come_when_they_are_due(live_cache, tmp_path, monkeypatch):
    saved = []
    original = loop_module.save_state

    def noting(path, model, optimiser, position, *more):
        saved.append(position.step)
        original(path, model, optimiser, position, *more)

    monkeypatch.setattr(loop_module, "save_state", noting)
    for minutes, expected in ((0, [1, 2, 3]), (10, [3])):
        saved.clear()
        config = tiny("retinanet", "train.epochs=1", f"train.save_minutes={minutes}")
        train(config, options(live_cache, tmp_path / str(minutes)))
        assert saved == [*expected, 3], "the last one says that the run is finished"


def test_the_loss_scale_goes_on(live_cache, tmp_path, monkeypatch):
    config = tiny("retinanet", "train.save_minutes=0", "train.precision=fp16")
    started = options(live_cache, tmp_path / "run")
    torn(config, started, 4, monkeypatch)
    assert position(started).scale_age == 4
    scale = position(started).loss_scale
    train(config, replace(started, resume=True))
    assert (position(started).loss_scale, position(started).scale_age) == (scale, 6)


def position(started):
    info = RunInfo.read(started.out)
    model = Model(info.fresh_detector())
    return load_state(
        started.out / "last.safetensors", model, make_optimiser(model, info.config.optim), info
    )[0]


def interrupting(monkeypatch, number, at):
    original = Stepper.step

    def stepped(stepper, batches, size, step, total):
        done = original(stepper, batches, size, step, total)
        if step == at:
            os.kill(os.getpid(), number)
        return done

    monkeypatch.setattr(Stepper, "step", stepped)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("source", ["cached", "finetune"])
def test_a_wish_to_leave_saves_the_step_and_leaves_no_process(
    number, source, live_cache, images, tmp_path, monkeypatch
):
    more = {"source": source, "images": images if source != "cached" else None}
    started = options(live_cache, tmp_path / "run", **more)
    config = tiny("retinanet", "train.workers=2")
    with monkeypatch.context() as patch:
        interrupting(patch, number, 3)
        with pytest.raises(KeyboardInterrupt):
            train(config, started)
    assert multiprocessing.active_children() == []
    assert lines(started.out, "train")[-1]["step"] == 4
    assert train(config, replace(started, resume=True)).steps == 6


def test_a_wish_during_an_evaluation_is_heard_after_it(live_cache, tmp_path, monkeypatch):
    original = validation.detect

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    started = options(live_cache, tmp_path / "run", val=live_cache)
    with monkeypatch.context() as patch:
        patch.setattr(validation, "detect", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tiny(), started)
    assert [line["epoch"] for line in lines(started.out, "eval")] == [1]
    train(tiny(), replace(started, resume=True))
    assert [line["epoch"] for line in lines(started.out, "eval")] == [1, 2]


def test_a_wish_at_the_very_end_is_too_late(live_cache, tmp_path, monkeypatch):
    interrupting(monkeypatch, signal.SIGINT, 5)
    started = options(live_cache, tmp_path / "run")
    assert train(tiny(), started).steps == 6
    assert (started.out / "best.safetensors").is_file()


ALL_AT_ONCE = ("train.average=0.9", "train.precision=fp16", "train.accumulate=2", "train.workers=3")


def command(python, source, cache, images, run, *more):
    settings = [*SHARED, *TINY["retinanet"], *ALL_AT_ONCE, "train.patience=9", "train.epochs=4"]
    words = [word for setting in settings for word in ("--set", setting)]
    live = ["--source", source, "--images", images] if source != "cached" else []
    fixed = [python, "-m", "fdet", "train-heads", cache, "--out", run, "--val", cache]
    saving = ["--head", "retinanet", "--set", "train.save_minutes=0"]
    return [*map(str, [*fixed, "--threads", 1, "--device", "cpu", *live, *words, *saving, *more])]


@pytest.fixture(scope="module", params=["cached", "finetune"])
def never_killed(request, warm, live_cache, images, tmp_path_factory):
    """A source, and the run of a process that trained with it."""
    run = tmp_path_factory.mktemp("never killed") / "run"
    words = command(warm.python, request.param, live_cache, images, run)
    subprocess.run(words, check=True, capture_output=True)
    return request.param, run


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_resumes_to_the_same_weights(
    number, never_killed, warm, live_cache, images, tmp_path
):
    (source, whole), run = never_killed, tmp_path / "run"
    words = command(warm.python, source, live_cache, images, run)
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 200
    while not (run / "last.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, number)
    process.communicate()
    assert process.returncode == (130 if number == signal.SIGTERM else -number)
    subprocess.run([*words, "--resume"], check=True, capture_output=True)
    assert_same(tensors(run), tensors(whole))
    assert_same(tensors(run, "best"), tensors(whole, "best"))


def test_a_cache_made_again_of_other_pixels_at_the_same_place_is_refused(dataset, tmp_path, caplog):
    """Its id is the same, and so are names, sizes and annotations."""
    mine = shutil.copytree(dataset.parent, tmp_path / "data") / dataset.name
    cache, run = tmp_path / "c", tmp_path / "run"
    extract(extraction(mine, cache, codec="fp32", **BACKBONE))
    train(tiny(), options(cache, run, val=cache))
    evaluate_run(run, cache)
    assert "but other files" not in caplog.text
    shutil.rmtree(cache)
    for path in (mine.parent / "images").glob("*.png"):
        with Image.open(path) as before:
            ImageOps.invert(before.convert("RGB")).save(path)
    extract(extraction(mine, cache, codec="fp32", **BACKBONE))
    with pytest.raises(InputError, match="something else: training images; validation images"):
        train(tiny(), options(cache, run, val=cache, resume=True))
    evaluate_run(run, cache)
    assert "the names and sizes of the run's training images, but other files" in caplog.text


def test_a_finished_run_of_another_seed_is_no_part_of_this_one(live_cache, tmp_path):
    """Its checkpoints fit the model; what tells them apart is the run.json that they name."""
    runs = [tmp_path / f"cached-{seed}" for seed in (0, 1)]
    for seed, run in enumerate(runs):
        config = tiny("retinanet", f"train.seed={seed}", "train.epochs=1")
        train(config, options(live_cache, run))
    own, other = runs
    assert is_finished(own) and Run("cached", 0, own).finished
    for name in ("best.safetensors", "last.safetensors"):
        shutil.copy(other / name, own / name)
    assert not is_finished(own)
    config = tiny("retinanet", "train.seed=0", "train.epochs=1")
    for use in (
        lambda: Run("cached", 0, own).finished,
        lambda: train(config, options(live_cache, own, resume=True)),
        lambda: train(config, options(live_cache, tmp_path / "new", start=own)),
        lambda: evaluate_run(own, live_cache),
        lambda: evaluate_run(own, live_cache, EvaluateOptions(checkpoint="last")),
    ):
        with pytest.raises(CorruptCache, match="it belongs to another run"):
            use()
    (record,) = read_records([own])
    assert record.state == "unreadable" and "it belongs to another run" in record.note
    assert not (tmp_path / "new").exists()
