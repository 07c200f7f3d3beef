"""`fdet zoo` in a shell, and other commands with zoo:NAME."""

import json

import pytest
from typer.testing import CliRunner

from fdet.pipeline.cli import app
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.prediction.predictor import load
from fdet.pipeline.training.train import train

from ...training.runs import options, tiny
from ..reporting.made_up import write_run


def fdet(*words):
    return CliRunner().invoke(app, list(map(str, words)))


def test_add_list_and_get(tmp_path):
    zoo, run = tmp_path / "zoo", write_run(tmp_path / "a", 0.4)
    empty = fdet("zoo", "list", "--zoo", zoo)
    assert (empty.exit_code, "no entries yet" in empty.stdout) == (0, True)
    done = fdet("zoo", "add", run, "--zoo", zoo, "--data", "my cells", "--licence", "CC0-1.0")
    assert done.exit_code == 0 and done.stdout.startswith(f"zoo:a: added to {zoo}\n")
    assert f"no thresholds for its classes: `fdet evaluate {run} CACHE` finds them" in done.stdout
    better = write_run(tmp_path / "b", 0.5, errors={"missed": 0.1})
    done = fdet("zoo", "add", better, "--zoo", zoo, "--name", "better")
    assert done.stdout == f"zoo:better: added to {zoo}\n"
    listed = fdet("zoo", "list", "--zoo", zoo).stdout.splitlines()
    assert listed[0].split()[:3] == ["name", "backbone", "head"]
    assert [line.split()[0] for line in listed[1:]] == ["better", "a"]
    assert "my cells" in listed[2] and "CC0-1.0" in listed[2] and " 40.0 " in listed[2]
    numbers = json.loads(fdet("zoo", "list", "--zoo", zoo, "--json").stdout)
    assert [card["name"] for card in numbers] == ["a", "better"]
    folder = fdet("zoo", "get", "a", "--zoo", zoo).stdout.strip()
    assert RunInfo.read(type(tmp_path)(folder)) == RunInfo.read(run)


def test_alone_it_lists_the_zoo_of_the_environment(tmp_path, monkeypatch):
    write_run(tmp_path / "runs" / "mine", 0.4)
    monkeypatch.setenv("FDET_ZOO", str(tmp_path / "runs"))
    assert fdet("zoo").stdout.splitlines()[1].startswith("mine ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "absent"), "is not a run"),
        (("add", "a", "--name", "../x"), "expected at most 100 letters"),
        (("add", "a", "--data", "two\nlines"), "--data: expected at most 500 printable"),
        (("get", "absent"), "no such entry"),
        (("pull", "lab/x", "--revision", ""), "--revision: expected"),
    ],
)
def test_what_is_refused_in_one_line(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a", 0.4)
    done = fdet("zoo", *words)
    assert done.exit_code == 2 and said in done.stderr
    assert done.stderr.count("\n") == 1


def test_other_commands_and_python_take_an_entry(exact_cache, dataset, tmp_path, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "found"
    train(tiny("retinanet", "train.epochs=1"), options(exact_cache, run, val=exact_cache))
    monkeypatch.setenv("FDET_ZOO", str(tmp_path / "zoo"))
    assert fdet("zoo", "add", run, "--name", "discs").exit_code == 0
    photos = dataset.parent / "images"
    detected = fdet("predict", "zoo:discs", photos, "--out", out, "--device", "cpu")
    assert detected.exit_code == 0, detected.stderr
    assert (out / "detections.json").is_file()
    evaluated = fdet("evaluate", "zoo:discs", exact_cache, "--out", out, "--device", "cpu")
    assert evaluated.exit_code == 0, evaluated.stderr
    both = ("--compare", "zoo:discs", "--out", out, "--device", "cpu")
    compared = fdet("evaluate", run, exact_cache, *both)
    assert compared.exit_code == 0, compared.stderr
    image = next(photos.rglob("*.jpg"), None) or next(photos.rglob("*.png"))
    found = load("zoo:discs", device="cpu", threshold=0.0)(image)
    assert len(found.scores) == len(load(run, device="cpu", threshold=0.0)(image).scores)
    words = ["train-heads", exact_cache, "--out", tmp_path / "next", "--start", "zoo:discs"]
    config = ("--config", run / "config.toml", "--set", "train.epochs=1", "--device", "cpu")
    started = fdet(*words, *config)
    assert started.exit_code == 0, started.stderr
    assert RunInfo.read(tmp_path / "next").data["start"] != "fresh weights"
    absent = fdet("predict", "zoo:disks", photos, "--out", tmp_path / "no")
    assert absent.exit_code == 2 and "did you mean 'discs'" in absent.stderr
