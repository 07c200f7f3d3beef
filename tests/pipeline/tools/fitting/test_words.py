"""The commands that run are commands that there are, with what was asked for and what was chosen."""

from dataclasses import replace
from pathlib import Path

import pytest
import typer

from fdet.pipeline.cli import app
from fdet.pipeline.tools.fitting.canvas import Canvas
from fdet.pipeline.tools.fitting.options import FitOptions
from fdet.pipeline.tools.fitting.parts import Part
from fdet.pipeline.tools.fitting.words import (
    command_text,
    evaluate_words,
    extract_words,
    plan_words,
    predict_words,
    report_words,
    split_words,
    train_words,
)

RUN, CACHE, OUT = Path("w/run"), Path("w/val.fdet"), Path("w/out")
PLAIN = FitOptions(data=Path("d"), out=Path("w"))
FULL = replace(
    PLAIN,
    backbone="resnet18",
    weights="a.pth",
    bits=12,
    config=Path("tal-fpn-s"),
    assignments=["train.batch_size=2", "optim.lr=1e-3"],
    memory_limit="4GiB",
    seed=7,
    device="cpu",
    threads=2,
)
PART = Part(Path("d"), Path("i"), "coco", "train")


def commands(options):
    features = PART, OUT, Canvas(96, 128), "plain,hflip", "int5"
    return {
        "split": split_words(PART, OUT, options.seed),
        "plan": plan_words(options, *features),
        "extract": extract_words(options, *features),
        "train": train_words(options, (CACHE, CACHE), RUN, None, ["train.epochs=3"]),
        "pilot": train_words(options, (CACHE, None), RUN, "tal-fpn-s"),
        "evaluate": evaluate_words(options, RUN, CACHE),
        "predict": predict_words(options, RUN, PART, [Path("i/a.png")], OUT),
        "report": report_words(options, RUN, CACHE, Path("i"), Path("w/r.html")),
    }


@pytest.mark.parametrize("name", commands(PLAIN))
@pytest.mark.parametrize("options", [PLAIN, FULL], ids=["plain", "full"])
def test_every_option_is_one_that_the_command_has(name, options):
    command, words = typer.main.get_command(app), list(commands(options)[name])
    while words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)  # raises for what it does not know


def test_little_is_said_where_little_was_asked_for():
    made = commands(PLAIN)
    assert made["evaluate"] == ["evaluate", "w/run", "w/val.fdet"]
    assert made["train"] == [
        *("train-heads", "w/val.fdet", "--val", "w/val.fdet", "--out", "w/run"),
        *("--set", "train.epochs=3"),
    ]


def test_what_was_asked_for_reaches_the_commands():
    made = commands(FULL)
    line = " ".join(made["train"])
    settings = ["train.seed=7", *FULL.assignments, "train.epochs=3"]
    assert " ".join(f"--set {setting}" for setting in settings) in line
    assert "--config tal-fpn-s" in line and "--memory-limit 4GiB" in line
    for name in ("plan", "extract"):
        line = " ".join(made[name])
        assert (
            "--bits 12 --backbone resnet18 --weights a.pth --seed 7 --device cpu --threads 2"
            in line
        )
        assert "--short 96 --long 128 --views plain,hflip --codec int5" in line
    assert "--weights a.pth --device cpu" in " ".join(made["predict"])
    assert "--threads" not in made["predict"], "a prediction has the threads of its cache"


def test_a_smaller_detector_takes_the_place_of_the_settings():
    words = train_words(FULL, (CACHE, None), RUN, "retinanet-fpn-s")
    assert words.count("--config") == 1 and "retinanet-fpn-s" in words


def test_a_command_can_be_copied():
    assert command_text(["extract", "a b.json", "it's"]) == "fdet extract 'a b.json' 'it'\"'\"'s'"
