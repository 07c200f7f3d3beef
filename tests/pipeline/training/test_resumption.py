"""`fdet train-heads --resume RUN` needs nothing else, refuses what differs, and makes a run longer."""

import json
import os
import signal
from dataclasses import fields, replace

import pytest
import torch
from typer.testing import CliRunner

from fdet.cache.errors import ConfigError, CorruptCache, FdetError, InputError
from fdet.pipeline.cli import app
from fdet.pipeline.runs.given import given_settings
from fdet.pipeline.runs.history import is_finished
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.kept_options import NAME, read_options
from fdet.pipeline.runs.position import LAST, read_position
from fdet.pipeline.tools.reporting.axes import _settings
from fdet.pipeline.training import loop as loop_module
from fdet.pipeline.training import resumption
from fdet.pipeline.training.cli import with_run_of_resume
from fdet.pipeline.training.divergence import remedies
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.resumption import continued, kept_values, resumed
from fdet.pipeline.training.step import Stepper
from fdet.pipeline.training.train import train

from .runs import SHARED, TINY, assert_same, content, lines, make_format_8, options, tensors, tiny

SETTINGS = [word for setting in (*SHARED, *TINY["retinanet"]) for word in ("--set", setting)]


def fdet(*words):
    return CliRunner().invoke(app, ["train-heads", *map(str, words)])


def begun(cache, out, *more):
    """A run of the command line, in today's long form."""
    return fdet(cache, "--out", out, "--threads", 1, "--head", "retinanet", *SETTINGS, *more)


@pytest.fixture
def interrupted(exact_cache, tmp_path, monkeypatch):
    """A run that Ctrl-C stopped in its second epoch, and what was printed."""
    out, original = tmp_path / "run", Stepper.step

    def stepped(stepper, batches, size, step, total):
        done = original(stepper, batches, size, step, total)
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", stepped)
        result = begun(exact_cache, out, "--val", exact_cache)
    assert result.exit_code == 130
    return out, result.stderr


@pytest.fixture(scope="module")
def finished(exact_cache, tmp_path_factory):
    """A finished run of two epochs; read only."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert begun(exact_cache, out).exit_code == 0
    return out


@pytest.mark.parametrize(
    ("words", "parsed"),
    [
        ("--resume RUN", "--resume --out RUN"),
        ("--resume=RUN --set a.b=1", "--resume --out RUN --set a.b=1"),
        ("CACHE --resume RUN", "CACHE --resume --out RUN"),
        ("--resume RUN CACHE", "--resume --out RUN CACHE"),
        ("CACHE --out RUN --resume", "CACHE --out RUN --resume"),
        ("--resume CACHE --out RUN", "--resume CACHE --out RUN"),
        ("--resume CACHE --out=RUN", "--resume CACHE --out=RUN"),
        ("--resume --set a.b=1", "--resume --set a.b=1"),
        ("--resume", "--resume"),
        ("CACHE --out RUN", "CACHE --out RUN"),
        ("--resume RUN -- --out", "--resume --out RUN -- --out"),
    ],
)
def test_a_word_after_resume_is_the_run_unless_out_names_it(words, parsed):
    assert with_run_of_resume(words.split()) == parsed.split()


def test_every_option_of_a_run_is_kept_or_its_absence_has_a_reason():
    kept = {
        *(*resumption.CACHES, *resumption.PLACES, *resumption.PATHS),
        *(*resumption.TEXTS, *resumption.COUNTS, *resumption.LISTS),
    }
    own = {field.name for field in fields(TrainOptions)}
    assert own - kept == {"out", "resume", "hooks", "extend"} and kept <= own


def test_an_interrupted_run_names_the_command_that_goes_on_with_it(interrupted):
    out, said = interrupted
    assert f"`fdet train-heads --resume {out}` goes on" in said
    result = fdet("--resume", out)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("steps 5 to 6,")
    assert [line["epoch"] for line in lines(out, "eval")] == [1, 2], "--val was kept too"


def test_the_short_form_and_the_long_one_end_with_the_same_weights(
    interrupted, exact_cache, tmp_path
):
    out, _ = interrupted
    whole = tmp_path / "whole"
    assert begun(exact_cache, whole, "--val", exact_cache).exit_code == 0
    assert begun(exact_cache, out, "--val", exact_cache, "--resume").exit_code == 0
    assert_same(tensors(out), tensors(whole))
    assert fdet("--resume", exact_cache, "--out", out).exit_code == 0, "a flag before the cache"


def test_before_a_run_was_begun_no_command_is_named(exact_cache, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fdet.pipeline.training.train.open_data", interrupted)
    result = begun(exact_cache, tmp_path / "run")
    assert result.exit_code == 130
    assert "interrupted; no run was begun yet: repeat the command" in result.stderr


def test_a_helper_that_was_killed_is_answered_with_the_same_command(finished, monkeypatch):
    def killed(*_):
        raise EOFError

    monkeypatch.setattr("fdet.pipeline.training.train.train", killed)
    result = fdet("--resume", finished)
    assert result.exit_code == 2
    assert f"out of memory?); what was finished is kept: `fdet train-heads --resume {finished}" in (
        result.stderr
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "optim.lr=1"], "differ from the run's: optim.lr was 0.0005, is 1.0; leave"),
        (
            ["--set", "optim.lr=1", "--set", "neck.channels=9"],
            "neck.channels was 8, is 9; optim.lr",
        ),
        (["--set", "train.epochs=1"], "train.epochs was 2, is 1"),
        (["--set", "train.epochs=9", "--set", "train.seed=1"], "train.seed was 0, is 1"),
        (["--head", "fcos"], "head.name was retinanet, is fcos"),
        (["--neck", "bifpn"], "neck.name was fpn, is bifpn"),
        (["--config", "retinanet-fpn-s"], "neck.channels was 8, is 64"),
        (["--adapters"], "backbone.adapters was False, is True"),
        (["--masks"], "unknown setting 'head.masks' of head retinanet"),
        (["--set", "optim.learning_rate=1"], "did you mean 'optim.lr'?"),
        (["--val", "CACHE"], "trained on something else: validation data; validation images; give"),
        (["--threads", "2"], "was begun with 1, now there are 2"),
    ],
)
def test_what_differs_from_the_run_is_named_and_refused(words, said, finished, exact_cache):
    before = {path.name: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    given = [exact_cache if word == "CACHE" else word for word in words]
    result = fdet("--resume", finished, *given)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in " ".join(result.stderr.split())
    assert {p.name: p.read_bytes() for p in finished.iterdir() if p.is_file()} == before


def test_what_is_the_same_as_the_runs_may_be_given_again(finished):
    words = ["--head", "retinanet", "--set", "train.epochs=auto", "--set", "optim.lr=5e-4"]
    assert fdet("--resume", finished, *words).exit_code == 0


def test_a_cache_that_was_moved_can_be_given_again(finished, exact_cache, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for path in finished.iterdir():
        if path.is_file():
            (run / path.name).write_bytes(path.read_bytes())
    values = read_options(run)
    (run / NAME).write_text(json.dumps({**values, "cache": ["/gone.fdet"]}))
    result = fdet("--resume", run)
    assert result.exit_code == 2
    assert "/gone.fdet is not there any more (CACHE of the run); give it where it is now: " in (
        result.stderr
    )
    assert f"`fdet train-heads CACHE --resume {run}`" in result.stderr
    assert fdet(exact_cache, "--resume", run).exit_code == 0
    assert read_options(run) == values, "it is kept for the next time"
    (run / NAME).unlink()
    assert "does not state where its caches are; give them" in fdet("--resume", run).stderr
    assert fdet(exact_cache, "--resume", run).exit_code == 0


def test_what_somebody_else_wrote_into_the_options_is_one_line(finished, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_bytes((finished / "run.json").read_bytes())
    for text in ("[", "[]", '{"cache": 5}', '{"cache": "a"}', '{"threads": "a"}', '{"zzz": 1}'):
        (run / NAME).write_text(text)
        result = fdet("--resume", run)
        assert result.exit_code == 2 and NAME in result.stderr, text


def test_there_is_something_to_go_on_with(tmp_path, finished):
    assert f"there is no run in {tmp_path}" in fdet("--resume", tmp_path).stderr
    assert "Missing option '--out'" in fdet("--resume").stderr
    assert "at least one cache to train on" in fdet("--out", tmp_path / "new").stderr


def test_a_run_of_another_command_is_refused(tmp_path, monkeypatch):
    info = type("Info", (), {"stage_2": True})
    monkeypatch.setattr(RunInfo, "read", lambda _: info)
    (tmp_path / "run.json").touch()
    with pytest.raises(InputError, match=r"a run of `fdet retrain-classifier`"):
        resumed(TrainOptions(out=tmp_path, resume=True), (), given_settings())


def test_paths_are_kept_absolute_and_stores_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").touch()
    values = kept_values(
        TrainOptions(
            cache=["a", "s3://bucket/b"], out=tmp_path, weights="w.pth#ema", source="online"
        )
    )
    assert values["cache"] == [str(tmp_path / "a"), "s3://bucket/b"]
    assert values["weights"] == f"{tmp_path}/w.pth#ema"
    assert (
        kept_values(TrainOptions(cache="a", out=tmp_path, weights="random"))["weights"] == "random"
    )
    assert "val" not in values and "start" not in values


def extended(out, cache, epochs):
    return train(
        tiny("retinanet", f"train.epochs={epochs}"),
        options(cache, out, resume=True, extend=True),
    )


def test_a_finished_run_is_made_longer_and_says_so(exact_cache, tmp_path, caplog):
    out = tmp_path / "run"
    caplog.set_level("INFO", logger="fdet")
    train(tiny(), options(exact_cache, out))
    first = RunInfo.read(out)
    caplog.clear()
    result = fdet("--resume", out, "--set", "train.epochs=4")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("steps 7 to 12,")
    assert (
        "extended from 2 to 4 epochs at step 6: the rate goes on as that of a run of 4 epochs at this "
        "step, 0.000375 (by 2 epochs it would be 0)"
    ) in caplog.text
    info = RunInfo.read(out)
    assert content(out)["extended"] == [[2, 6]]
    assert info.extensions == ((2, 6),) and info.begun == first.digest == info.digest
    assert is_finished(out) and info.config.train.epochs == 4
    assert "epochs = 4" in (out / "config.toml").read_text()
    rates = [line["lr"] for line in lines(out, "train")]
    assert rates[-1] < 1e-4 < max(rates)
    caplog.clear()
    assert fdet("--resume", out).exit_code == 0
    assert "extended from" not in caplog.text, "the run goes on as any other"
    fdet("--resume", out, "--set", "train.epochs=5")
    assert RunInfo.read(out).extensions == ((2, 6), (4, 12))


def test_an_extended_run_is_not_taken_for_one_that_had_all_epochs_from_the_start(
    exact_cache, tmp_path
):
    runs = [tmp_path / name for name in ("longer", "long")]
    train(tiny(), options(exact_cache, runs[0]))
    extended(runs[0], exact_cache, 4)
    train(tiny("retinanet", "train.epochs=4"), options(exact_cache, runs[1]))
    one, other = (dict(_settings(RunInfo.read(run))) for run in runs)
    assert {name for name in one | other if one.get(name) != other.get(name)} == {"extended"}
    assert one["extended"] == "from 2 epochs, at step 6"
    mine, theirs = tensors(runs[0]), tensors(runs[1])
    assert any(not torch.equal(mine[name], theirs[name]) for name in mine)


def test_an_extended_run_that_is_torn_goes_on_to_the_same_weights(
    exact_cache, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop_module, "LOG_EVERY_STEPS", 1)
    runs = [tmp_path / name for name in ("whole", "torn")]
    for run in runs:
        train(tiny("retinanet", "train.save_minutes=0"), options(exact_cache, run))
    config = tiny("retinanet", "train.save_minutes=0", "train.epochs=4")
    more = {"resume": True, "extend": True}
    train(config, options(exact_cache, runs[0], **more))
    for at in (6, 9):
        original = Stepper.step

        def tearing(stepper, batches, size, step, total, at=at, original=original):
            if step == at:
                raise RuntimeError("torn")
            return original(stepper, batches, size, step, total)

        with monkeypatch.context() as patch:
            patch.setattr(Stepper, "step", tearing)
            with pytest.raises(RuntimeError, match="torn"):
                train(config, options(exact_cache, runs[1], **more))
        assert not is_finished(runs[1])
    train(config, options(exact_cache, runs[1], **more))
    assert_same(tensors(runs[1]), tensors(runs[0]))
    assert RunInfo.read(runs[1]).extensions == ((2, 6),)


def test_an_end_by_patience_does_not_end_an_extended_run_at_once(exact_cache, tmp_path):
    config = tiny("retinanet", "train.patience=1", "optim.lr=1e-12", "train.epochs=3")
    out = tmp_path / "run"
    train(config, options(exact_cache, out, val=exact_cache))
    assert [line["epoch"] for line in lines(out, "eval")] == [1, 2]
    longer = replace(config, train=replace(config.train, epochs=6))
    train(longer, options(exact_cache, out, val=exact_cache, resume=True, extend=True))
    assert [line["epoch"] for line in lines(out, "eval")] == [1, 2, 3]


def test_without_the_word_a_longer_configuration_is_refused(finished, exact_cache):
    """As a plan or a script has it: only --set of the short form extends."""
    with pytest.raises(ConfigError, match=r"train\.epochs was 2, is 4; start a new --out"):
        train(tiny("retinanet", "train.epochs=4"), options(exact_cache, finished, resume=True))


def test_a_run_of_an_older_format_is_not_extended(exact_cache, tmp_path):
    out = tmp_path / "run"
    train(tiny(), options(exact_cache, out))
    make_format_8(out)
    with pytest.raises(InputError, match=r"format 8\) and cannot have more epochs; start a new"):
        extended(out, exact_cache, 4)


@pytest.mark.parametrize("bad", [{"extended": [[2, -1]]}, {"extended": [[2]]}, {"begun": 5}])
def test_an_extension_that_is_none_is_refused(bad, finished, tmp_path):
    from .runs import rewrite

    (tmp_path / "run.json").write_bytes((finished / "run.json").read_bytes())
    rewrite(tmp_path, {**content(tmp_path), "begun": "a" * 64, "extended": [[2, 6]]})
    assert RunInfo.read(tmp_path).digest == "a" * 64
    rewrite(tmp_path, {**content(tmp_path), **bad})
    with pytest.raises(CorruptCache, match=r"run\.json: unreadable"):
        RunInfo.read(tmp_path)


def test_an_extension_is_one_write_and_leaves_the_checkpoint(finished, tmp_path):
    info = RunInfo.read(finished)
    position = read_position(finished / LAST, info)
    assert position.finished
    longer = info.extended(tiny("retinanet", "train.epochs=4"), position.step)
    assert not read_position(finished / LAST, longer).finished


def test_settings_of_a_file_that_differ_are_named_with_the_file(finished, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("[optim]\nlearning_rate = 1\n")
    kept = RunInfo.read(finished).config
    with pytest.raises(ConfigError, match=r"^.*own\.toml: unknown setting 'optim\.learning_rate'"):
        continued(finished, kept, given_settings(path))


def test_a_forgotten_val_is_one_warning_at_the_start(exact_cache, tmp_path, caplog):
    train(tiny("retinanet", "train.epochs=1"), options(exact_cache, tmp_path / "a"))
    assert caplog.text.count("there is no --val") == 1
    caplog.clear()
    more = {"val": exact_cache}
    train(tiny("retinanet", "train.epochs=1"), options(exact_cache, tmp_path / "b", **more))
    assert "--val" not in caplog.text


def test_weights_that_an_infinite_gradient_spoilt_are_said_to_be_of_no_use(exact_cache, tmp_path):
    config, out = tiny("retinanet", "train.epochs=1"), tmp_path / "run"
    train(config, options(exact_cache, out))
    info = RunInfo.read(out)
    position = read_position(out / LAST, info)
    assert remedies(info.config, out, position).endswith(
        "last.safetensors has the weights of step 3"
    )

    def spoil(model):
        with torch.no_grad():
            next(iter(model.parameters())).fill_(float("nan"))

    original = loop_module.save_state

    def spoilt(path, model, *more):
        spoil(model)
        original(path, model, *more)

    loop_module.save_state = spoilt
    try:
        train(config, options(exact_cache, tmp_path / "spoilt"))
    except FdetError:
        pass
    finally:
        loop_module.save_state = original
    said = remedies(info.config, tmp_path / "spoilt", position)
    assert said.endswith("the weights of step 3, which are not finite any more and of no use")
