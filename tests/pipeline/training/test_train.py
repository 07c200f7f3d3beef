"""The central claim, and a run that is the same run however it was interrupted."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from fdet.cache.errors import ConfigError, CorruptCache, FdetError, InputError, KeyMismatch
from fdet.pipeline.cli import app
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs import metrics_log
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.inspection import steps_after_training
from fdet.pipeline.tools.reporting.records import read_records
from fdet.pipeline.training import train as train_module
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.step import Stepper
from fdet.pipeline.training.train import train

from ...conftest import extraction
from ...generated import make_dataset

SMALL = {
    "retinanet": ("neck.channels=16", "neck.max_level=5", "train.batch_size=2"),
    "faster-rcnn": (
        "neck.channels=16",
        "neck.max_level=5",
        "train.batch_size=2",
        "head.fc_channels=32",
        "head.sampled=32",
    ),
}


def small(head="retinanet", *more):
    return load_config(head=head, assignments=[*SMALL[head], *more])


def weights(run, name="last"):
    return load_file(run / f"{name}.safetensors")


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    differing = [name for name in a if not torch.equal(a[name], b[name])]
    assert differing == []


@pytest.mark.parametrize("head", SMALL)
def test_cached_training_equals_the_backbone_in_the_loop_bit_for_bit(
    head, exact_cache, dataset, tmp_path
):
    config = small(head, "train.epochs=9", "train.eval_every=9")
    options = TrainOptions(cache=exact_cache, out=tmp_path / "cached", threads=1)
    summary = train(config, options)
    assert summary.steps == 54
    images = dataset.parent / "images"
    train(config, replace(options, out=tmp_path / "online", source="online", images=images))

    def losses(run):
        return [line["losses"] for line in metrics_log.read(tmp_path / run)]

    assert losses("cached") == losses("online")
    assert_same_weights(weights(tmp_path / "cached"), weights(tmp_path / "online"))


def test_half_precision_is_close_but_not_the_same(dataset, exact_cache, tmp_path):
    """So the bits above are equal because the features are, not because nothing looks at them."""
    extract(extraction(dataset, tmp_path / "half.fdet", views="plain,hflip", codec="fp16"))
    logged = []
    for name, cache in (("exact", exact_cache), ("half", tmp_path / "half.fdet")):
        config = small("retinanet", "train.epochs=1")
        train(config, TrainOptions(cache=cache, out=tmp_path / name, threads=1))
        logged.append(metrics_log.read(tmp_path / name)[0]["loss"])
    exact, half = (weights(tmp_path / name) for name in ("exact", "half"))
    assert [name for name in exact if not torch.equal(exact[name], half[name])]
    assert logged[0] == pytest.approx(logged[1], rel=1e-3)


def test_a_head_trained_from_its_cache_finds_the_objects(tmp_path):
    train_set = make_dataset(tmp_path / "train", images=24, seed=1)
    val_set = make_dataset(tmp_path / "val", images=12, seed=2)
    extract(extraction(train_set, tmp_path / "train.fdet", views="plain,hflip", shard_mb=64))
    extract(extraction(val_set, tmp_path / "val.fdet"))
    config = load_config(
        head="faster-rcnn",
        assignments=[
            "neck.channels=32",
            "neck.max_level=5",
            "head.anchor_scales=[4]",
            "head.fc_channels=128",
            "head.sampled=64",
            "train.epochs=20",
            "train.batch_size=4",
            "train.eval_every=20",
            "optim.lr=0.002",
        ],
    )
    run = tmp_path / "run"
    options = TrainOptions(
        cache=tmp_path / "train.fdet", val=tmp_path / "val.fdet", out=run, threads=1
    )
    summary = train(config, options)
    assert summary.metrics is not None
    assert summary.metrics.ap50 >= 0.8
    metrics, _ = evaluate_run(run, tmp_path / "val.fdet")
    assert metrics.errors is not None
    as_trained = replace(metrics, errors=None, scores=None, duplicates=None)
    assert as_trained == summary.metrics
    assert (run / "curve.png").stat().st_size > 1000


def command(python, cache, run, *more):
    arguments = [a for setting in SMALL["retinanet"] for a in ("--set", setting)]
    arguments += ["--head", "retinanet"]
    return [
        *(str(python), "-m", "fdet", "train-heads", str(cache), "--out", str(run)),
        *("--val", str(cache), "--threads", "1", "--set", "train.epochs=4", *arguments, *more),
    ]


@pytest.fixture(scope="module")
def undisturbed(exact_cache, warm, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    subprocess.run(command(warm.python, exact_cache, run), check=True, capture_output=True)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_resumes_to_the_same_weights(
    number, exact_cache, undisturbed, warm, tmp_path
):
    run = tmp_path / "run"
    process = subprocess.Popen(command(warm.python, exact_cache, run), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (run / "last.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.communicate()
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    before = metrics_log.read(run)
    assert before
    assert before[-1]["step"] < 24
    resumed = command(warm.python, exact_cache, run, "--resume")
    subprocess.run(resumed, check=True, capture_output=True)
    assert_same_weights(weights(run), weights(undisturbed))
    assert_same_weights(weights(run, "best"), weights(undisturbed, "best"))
    steps = [(line["kind"], line["step"]) for line in metrics_log.read(run)]
    assert len(steps) == len(set(steps))


class Interrupting:
    """Ctrl-C at the end of the n-th step."""

    def __init__(self, monkeypatch, step):
        original = Stepper.step

        def stepped(stepper, batches, size, number, total):
            done = original(stepper, batches, size, number, total)
            if number + 1 == step:
                os.kill(os.getpid(), signal.SIGINT)
            return done

        monkeypatch.setattr(Stepper, "step", stepped)


@pytest.mark.parametrize("step", [4, 6, 12])
def test_ctrl_c_at_any_step_loses_neither_step_nor_evaluation(
    step, exact_cache, tmp_path, monkeypatch
):
    config = small("retinanet", "train.epochs=2")
    options = TrainOptions(cache=exact_cache, val=exact_cache, out=tmp_path / "whole", threads=1)
    train(config, options)
    options = replace(options, out=tmp_path / "torn")
    with monkeypatch.context() as patch:
        Interrupting(patch, step)
        with pytest.raises(KeyboardInterrupt):
            train(config, options)
    train(config, replace(options, resume=True))
    assert_same_weights(weights(tmp_path / "torn"), weights(tmp_path / "whole"))
    assert_same_weights(weights(tmp_path / "torn", "best"), weights(tmp_path / "whole", "best"))

    def evaluations(run):
        return [line for line in metrics_log.read(tmp_path / run) if line["kind"] == "eval"]

    assert evaluations("torn") == evaluations("whole")
    assert len(evaluations("whole")) == 2


def test_an_error_in_the_evaluation_loses_no_step(exact_cache, tmp_path, monkeypatch):
    config = small("retinanet", "train.epochs=1")
    options = TrainOptions(cache=exact_cache, val=exact_cache, out=tmp_path / "run", threads=1)

    def failing(*arguments):
        raise CorruptCache("a shard")

    with monkeypatch.context() as patch:
        patch.setattr("fdet.pipeline.training.validation.detect", failing)
        with pytest.raises(CorruptCache):
            train(config, options)
    summary = train(config, replace(options, resume=True))
    assert summary.metrics is not None
    steps = [line["step"] for line in metrics_log.read(tmp_path / "run") if line["kind"] == "train"]
    assert steps == [6]


@pytest.mark.parametrize("change", ["val", "cache", "annotations"])
def test_resume_refuses_other_data_and_names_them(change, dataset, exact_cache, tmp_path):
    config = small("retinanet", "train.epochs=1")
    options = TrainOptions(cache=exact_cache, val=exact_cache, out=tmp_path / "run", threads=1)
    train(config, options)
    other = tmp_path / "other.json"
    data = json.loads(dataset.read_text())
    data["annotations"].pop()
    other.write_text(json.dumps(data))
    if change == "val":
        options = replace(options, val=None)
    elif change == "annotations":
        options = replace(options, annotations=other)
    else:
        extract(extraction(dataset, tmp_path / "fewer.fdet", codec="fp32", limit=11))
        options = replace(options, cache=tmp_path / "fewer.fdet")
    with pytest.raises(InputError, match="validation data" if change == "val" else "training data"):
        train(config, replace(options, resume=True))


def test_annotations_of_another_data_set_with_the_same_ids_are_refused(
    dataset, exact_cache, tmp_path
):
    data = json.loads(dataset.read_text())
    for image in data["images"]:
        image["file_name"] = f"other/{image['file_name']}"
    path = tmp_path / "other.json"
    path.write_text(json.dumps(data))
    options = TrainOptions(cache=exact_cache, out=tmp_path / "run", annotations=path)
    with pytest.raises(InputError, match="12 of its image ids to other images"):
        train(small(), options)


@pytest.mark.parametrize(
    ("ignored", "said"),
    [
        ({"images": "x"}, "--images is for a backbone in the loop"),
        ({"weights": "x"}, "--weights is for a backbone that is loaded"),
        ({"val_annotations": "x"}, "--val-annotations needs --val"),
        ({"source": "onlin"}, "did you mean 'online'?"),
        ({"source": "scratch", "images": "x", "weights": "y"}, "--weights is of no use"),
        ({"val_images": "x"}, "--val-images needs --val"),
        ({"source": "online"}, "needs --images DIR"),
        ({"source": "online", "images": "x", "on_corrupt": "skip"}, "--on-corrupt is for cached"),
        ({"source": "online", "images": "x", "resident": "ram"}, "--resident is for cached"),
        ({"resident": "rma"}, "--resident 'rma'; did you mean 'ram'?"),
        ({"on_corrupt": "skp"}, "--on-corrupt 'skp'; did you mean 'skip'"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(ignored, said, exact_cache, tmp_path):
    options = TrainOptions(cache=exact_cache, out=tmp_path / "run", **ignored)
    with pytest.raises(InputError) as caught:
        train(small(), options)
    assert said in str(caught.value)


def test_online_training_says_how_many_images_are_missing(exact_cache, tmp_path):
    (tmp_path / "empty").mkdir()
    options = TrainOptions(
        cache=exact_cache, out=tmp_path / "run", source="online", images=tmp_path / "empty"
    )
    with pytest.raises(InputError, match="12 of 12 images are missing"):
        train(small(), options)


def test_a_finished_run_resumes_to_nothing(exact_cache, tmp_path):
    options = TrainOptions(cache=exact_cache, out=tmp_path / "run", threads=1)
    train(small("retinanet", "train.epochs=1"), options)
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    summary = train(small("retinanet", "train.epochs=1"), replace(options, resume=True))
    assert summary.metrics is None
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


def test_the_number_of_reading_threads_changes_nothing(exact_cache, tmp_path):
    for workers in (1, 3):
        config = small("retinanet", "train.epochs=1", f"train.workers={workers}")
        train(config, TrainOptions(cache=exact_cache, out=tmp_path / str(workers), threads=1))
    assert_same_weights(weights(tmp_path / "1"), weights(tmp_path / "3"))


def test_another_seed_is_another_run(exact_cache, tmp_path):
    for seed in (0, 1):
        config = small("retinanet", "train.epochs=1", f"train.seed={seed}")
        train(config, TrainOptions(cache=exact_cache, out=tmp_path / str(seed), threads=1))
    a, b = weights(tmp_path / "0"), weights(tmp_path / "1")
    assert any(not torch.equal(a[name], b[name]) for name in a)


def test_resume_refuses_another_configuration_and_names_it(exact_cache, tmp_path):
    options = TrainOptions(cache=exact_cache, out=tmp_path / "run", threads=1)
    train(small("retinanet", "train.epochs=1", "optim.lr=0.0005"), options)
    changed = small("retinanet", "train.epochs=1", "optim.lr=0.001")
    with pytest.raises(ConfigError, match=r"optim.lr was 0.0005, is 0.001"):
        train(changed, replace(options, resume=True))


def test_what_a_kill_left_before_the_run_had_begun_is_cleared(exact_cache, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".run.json.scratch").touch()
    train(small("retinanet", "train.epochs=1"), TrainOptions(cache=exact_cache, out=run, threads=1))
    assert (run / "best.safetensors").is_file()


def test_a_configuration_that_a_kill_left_out_is_written_on_resume(exact_cache, tmp_path):
    config = small("retinanet", "train.epochs=1")
    started = TrainOptions(cache=exact_cache, out=tmp_path / "run", threads=1)
    train(config, started)
    before = (started.out / "config.toml").read_bytes()
    (started.out / "config.toml").unlink()
    train(config, replace(started, resume=True))
    assert (started.out / "config.toml").read_bytes() == before


def test_a_run_that_could_not_begin_can_be_begun_again(exact_cache, tmp_path, monkeypatch):
    def refusing(*arguments, **more):
        raise InputError("--track: it cannot be opened")

    config = small("retinanet", "train.epochs=1")
    started = TrainOptions(
        cache=exact_cache, out=tmp_path / "run", threads=1, track=["tensorboard"]
    )
    with monkeypatch.context() as patch:
        patch.setattr(train_module, "opened_trackers", refusing)
        with pytest.raises(InputError, match="cannot be opened"):
            train(config, started)
    assert not started.out.exists()
    train(config, started)
    assert (started.out / "tensorboard").is_dir()


def test_folders_that_stand_in_the_way_are_refused(exact_cache, tmp_path):
    options = TrainOptions(cache=exact_cache, out=tmp_path / "run", threads=1)
    with pytest.raises(InputError, match="there is no run"):
        train(small(), replace(options, resume=True))
    train(small("retinanet", "train.epochs=1"), options)
    with pytest.raises(InputError, match="it contains a run already"):
        train(small("retinanet", "train.epochs=1"), options)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(InputError, match="not empty"):
        train(small(), replace(options, out=tmp_path / "full"))


def test_caches_of_other_features_do_not_pair(dataset, exact_cache, tmp_path):
    extract(extraction(dataset, tmp_path / "other.fdet", size=96, codec="fp32"))
    options = TrainOptions(
        cache=exact_cache, val=tmp_path / "other.fdet", out=tmp_path / "run", threads=1
    )
    with pytest.raises(KeyMismatch, match="short: 128 here, 96 there"):
        train(small(), options)
    assert not (tmp_path / "run").exists()


def test_another_codec_pairs(dataset, exact_cache, tmp_path):
    extract(extraction(dataset, tmp_path / "half.fdet", codec="fp16"))
    options = TrainOptions(
        cache=exact_cache, val=tmp_path / "half.fdet", out=tmp_path / "run", threads=1
    )
    assert train(small("retinanet", "train.epochs=1"), options).metrics is not None


def test_other_classes_are_refused(dataset, exact_cache, tmp_path):
    data = json.loads(dataset.read_text())
    data["categories"][0]["name"] = "dish"
    path = tmp_path / "renamed.json"
    path.write_text(json.dumps(data))
    options = TrainOptions(
        cache=exact_cache, val=exact_cache, val_annotations=path, out=tmp_path / "run"
    )
    with pytest.raises(InputError, match="classes"):
        train(small(), options)


def test_relabelling_needs_no_new_extraction(dataset, exact_cache, tmp_path):
    data = json.loads(dataset.read_text())
    data["annotations"] = data["annotations"][:3]
    path = tmp_path / "fewer.json"
    path.write_text(json.dumps(data))
    config = small("retinanet", "train.epochs=1")
    for name, annotations in (("own", None), ("fewer", path)):
        train(
            config,
            TrainOptions(
                cache=exact_cache, out=tmp_path / name, annotations=annotations, threads=1
            ),
        )
    a, b = weights(tmp_path / "own"), weights(tmp_path / "fewer")
    assert any(not torch.equal(a[name], b[name]) for name in a)


def test_train_and_val_may_be_one_cache_with_one_warning(exact_cache, tmp_path, caplog):
    options = TrainOptions(cache=exact_cache, val=exact_cache, out=tmp_path / "run", threads=1)
    train(small("retinanet", "train.epochs=1"), options)
    assert sum("same cache" in record.message for record in caplog.records) == 1


def test_the_command_ends_with_the_best_figures_and_what_to_do_next(exact_cache, tmp_path):
    words = ["train-heads", exact_cache, "--val", exact_cache, "--out", tmp_path / "run"]
    settings = ["--set", "neck.channels=8", "--set", "train.epochs=1", "--threads", "1"]
    done = CliRunner().invoke(app, [str(word) for word in [*words, *settings]])
    assert done.exit_code == 0
    first, classes, heading, *lines = done.stdout.splitlines()
    assert re.search(r"best AP \d+\.\d, AP50 \d+\.\d \(epoch 1\)", first)
    assert classes.startswith("AP by class: ")
    assert heading == "what to do next:" and 2 <= len(lines) <= 4
    assert lines[0].startswith("- AP is that of images that were trained on")
    assert lines[-1].startswith("- `fdet evaluate ")


DIVERGING = ("optim.lr=1e15", "optim.name=sgd", "train.clip_norm=0", "schedule.warmup_steps=0")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            (),
            r"limit the gradient with train\.clip_norm=1 \(now 0, no limit\) or begin with schedule\.",
        ),
        (
            ("train.clip_norm=1e9",),
            r"lower train\.clip_norm \(now 1e\+09\) or begin with schedule\.",
        ),
        (
            ("schedule.name=onecycle",),
            r"or limit the gradient with train\.clip_norm=1 \(now 0, no limit\);",
        ),
    ],
)
def test_a_loss_that_is_no_number_stops_the_run(settings, said, exact_cache, tmp_path):
    config = small("retinanet", *DIVERGING, "train.epochs=3", *settings)
    options = TrainOptions(cache=exact_cache, out=tmp_path / "run", threads=1)
    with pytest.raises(FdetError, match=rf"lower optim\.lr \(now 1e\+15\).*{said}") as raised:
        train(config, options)
    assert str(raised.value).endswith(
        "; begin a new --out, as --resume would repeat the same steps; no weights were kept yet"
    )
    assert not list((tmp_path / "run").glob("*.safetensors"))
    (line,) = metrics_log.read(tmp_path / "run")
    assert line["diverged"] in ("nan", "inf") and "loss" not in line
    (record,) = read_records([tmp_path / "run"])
    assert record.state == "unfinished" and "--resume" not in record.note
    assert f"its loss was {line['diverged']} at step {line['step']}" in record.note
    assert steps_after_training(tmp_path / "run")[1].startswith("- training diverged")


def test_the_weights_that_there_are_after_a_divergence_are_named(
    exact_cache, tmp_path, monkeypatch
):
    """The loss is no number in the second epoch, after the first was evaluated and saved."""
    original = Stepper.step

    def diverging(stepper, batches, size, number, total):
        done = original(stepper, batches, size, number, total)
        losses = {
            name: loss * (float("nan") if number >= 6 else 1) for name, loss in done.losses.items()
        }
        return done._replace(losses=losses)

    monkeypatch.setattr(Stepper, "step", diverging)
    out = tmp_path / "run"
    options = TrainOptions(cache=exact_cache, val=exact_cache, out=out, threads=1)
    config = small("retinanet", "train.epochs=2", "train.eval_every=1")
    with pytest.raises(FdetError) as raised:
        train(config, options)
    assert str(raised.value).endswith(
        "; best.safetensors has the weights of epoch 1, AP 0.0, last.safetensors has the weights of step 6"
    )
    assert sorted(path.name for path in out.glob("*.safetensors")) == [
        "best.safetensors",
        "last.safetensors",
    ]
    monkeypatch.setattr(Stepper, "step", original)
    assert train(config, replace(options, resume=True)).steps == 12
    assert not any("diverged" in line for line in metrics_log.read(out))


def test_a_level_that_is_lacking_is_said_before_a_folder_is_made(exact_cache, tmp_path):
    with pytest.raises(ConfigError, match=r"needs level c2"):
        train(
            small("retinanet", "neck.min_level=2"),
            TrainOptions(cache=exact_cache, out=tmp_path / "run"),
        )
    assert not (tmp_path / "run").exists()


def test_the_run_stands_alone(exact_cache, tmp_path):
    options = TrainOptions(cache=exact_cache, out=tmp_path / "run", threads=1)
    config = small("retinanet", "train.epochs=1")
    train(config, options)
    kept = RunInfo.read(tmp_path / "run").config
    assert kept == config.adopting(kept) != config
    assert load_config(tmp_path / "run" / "config.toml") == kept


def test_the_first_lines_tell_its_length_and_what_fits_badly(exact_cache, tmp_path, caplog):
    """Before anything else is told; and the time that is left with the first steps."""
    caplog.set_level(logging.INFO, "fdet")
    told = []
    options = TrainOptions(
        cache=exact_cache,
        val=exact_cache,
        out=tmp_path / "run",
        threads=1,
        hooks=[lambda event: told.append(caplog.messages[:])],
    )
    config = small("retinanet", "train.epochs=2", "optim.lr=0.001", "head.anchor_scales=[0.25]")
    train(config, options)
    expected = [
        "fpn + retinanet: ",
        "anchors of 0.25 strides: the smallest has a side of 2 px, a tenth of the objects one below ",
        "objects without an anchor for their size, by class: disc 100%, square 100%, cross 100%",
        "12 steps in 2 epochs, 2 images each; adamw, peak rate 0.001, fp32; evaluated every epoch",
        "the remaining steps will take about ",
    ]
    assert len(told) == 5
    for messages in told:
        mine = [m for m in messages if m.startswith(tuple(expected))]
        assert [m.startswith(start) for m, start in zip(mine, expected, strict=True)] == [True] * 5


def test_training_loads_no_image_and_no_backbone(exact_cache, tmp_path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from fdet.pipeline.backbones import loading\n"
        "from fdet.pipeline.dataset.images import decoding\n"
        "def never(*a, **k): raise AssertionError('loaded')\n"
        "loading.load_backbone = decoding.load_image = never\n"
        "from fdet.pipeline.runs.config import load_config\n"
        "from fdet.pipeline.training.options import TrainOptions\n"
        "from fdet.pipeline.training.train import train\n"
        "c = load_config(assignments=['neck.channels=8', 'train.epochs=1'])\n"
        f"train(c, TrainOptions(cache=Path({str(exact_cache)!r}), out=Path({str(tmp_path / 'r')!r})))\n"
        "assert 'timm' not in sys.modules, 'timm'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
