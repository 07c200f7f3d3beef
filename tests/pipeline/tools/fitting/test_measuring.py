"""What is measured is read from the figures of a plan and from the log of a run."""

import json

import pytest

from fdet.cache.errors import FdetError
from fdet.pipeline.tools.fitting.canvas import Canvas
from fdet.pipeline.tools.fitting.measuring import (
    pilot_epochs,
    pilot_images,
    rates_of_plan,
    step_seconds,
)

PLAN = {
    "asked": "int5",
    "samples": 40,
    "disk": {"free": 5e9},
    "codecs": [
        {"codec": "fp16", "sample_bytes": 900, "extraction_seconds": 30},
        {"codec": "int5", "sample_bytes": 200, "extraction_seconds": 20},
    ],
}


def test_the_rates_are_those_of_the_codec_that_was_asked_for():
    rates = rates_of_plan(json.dumps(PLAN), Canvas(64, 96))
    assert (rates.sample, rates.free, rates.canvas) == (0.5, 5e9, Canvas(64, 96))
    assert rates.bytes == {"fp16": 900, "int5": 200}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({**PLAN, "asked": "int4"}),
        json.dumps({**PLAN, "samples": 0}),
        json.dumps({**PLAN, "disk": 3}),
        json.dumps({**PLAN, "codecs": [{}]}),
    ],
)
def test_other_figures_are_refused_in_one_line(text):
    with pytest.raises(FdetError, match="did not print its figures"):
        rates_of_plan(text, Canvas(64, 96))


def logged(folder, *lines):
    folder.mkdir()
    rest = {"loss": 1.0, "images_per_second": 1.0, "waiting": 0.0, "process_memory_mb": 1}
    with (folder / "metrics.jsonl").open("w") as file:
        for step, epoch, seconds in lines:
            line = {"kind": "train", "step": step, "epoch": epoch, "seconds": seconds, **rest}
            file.write(json.dumps(line) + "\n")
    return folder


def test_the_first_epoch_of_a_pilot_does_not_count(tmp_path):
    run = logged(tmp_path / "run", (4, 1, 9.0), (8, 2, 2.0), (10, 3, 1.0), (12, 3, 1.0))
    assert step_seconds(run) == 0.5


def test_where_there_is_only_one_epoch_it_counts(tmp_path):
    assert step_seconds(logged(tmp_path / "run", (10, 1, 5.0), (16, 1, 3.0))) == 0.5


def test_a_pilot_without_steps_is_refused(tmp_path):
    with pytest.raises(FdetError, match="logged no step"):
        step_seconds(logged(tmp_path / "run"))


@pytest.mark.parametrize(
    ("batch_size", "there"), [(1, 1000), (4, 1000), (16, 1000), (64, 1000), (4, 3)]
)
def test_a_pilot_has_enough_steps_after_its_first_epoch(batch_size, there):
    images = min(pilot_images(batch_size), there)
    assert (pilot_epochs(images, batch_size) - 1) * images / batch_size >= 12
