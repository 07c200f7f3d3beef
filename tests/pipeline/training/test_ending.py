"""The last lines of a training: figures, classes, and a command that can be copied."""

import pytest

from fdet.pipeline.training.ending import closing_lines, described, next_command
from fdet.pipeline.training.loop import TrainSummary
from fdet.pipeline.training.options import TrainOptions

from ..tools.reporting.made_up import write_run


def options(run, tmp_path, **given):
    return TrainOptions(cache=tmp_path / "train.fdet", out=run, **given)


def summary(run, **given):
    values = {"best_ap": 0.4, "best_epoch": 3, "best_ap50": 0.5, "metrics": None}
    return TrainSummary(run, 30, 12.3, 0.1, 0, **{**values, **given})


def test_a_training_ends_with_figures_classes_and_the_next_command(tmp_path):
    run = write_run(tmp_path / "a run", classes=tuple(f"class {k}" for k in range(8)))
    first, best, worst, *rest = closing_lines(
        summary(run), options(run, tmp_path, val=tmp_path / "val.fdet")
    )
    assert "best AP 40.0, AP50 50.0 (epoch 3)" in first
    assert best == "best classes: class 0 40.0, class 1 36.0, class 2 32.0"
    assert worst == "worst classes: class 7 12.0, class 6 16.0, class 5 20.0"
    assert rest[0] == "what to do next:"
    assert rest[-1] == f"- `fdet evaluate '{run}' {tmp_path / 'val.fdet'}`"


def test_without_an_evaluation_there_are_no_classes(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "metrics.jsonl").unlink()
    lines = list(closing_lines(summary(run, best_ap=None, best_epoch=0), options(run, tmp_path)))
    assert "AP" not in lines[0] and lines[1] == "what to do next:"
    assert lines[-1] == f"- `fdet predict {run} PHOTOS/ --out found/`"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ""),
        ({"val_second": "b.fdet"}, " --with b.fdet"),
        ({"val_annotations": "v.json", "format": "coco"}, " --annotations v.json --format coco"),
        ({"format": "coco"}, ""),
        ({"val_images": "photos"}, ""),
    ],
)
def test_the_evaluation_is_of_the_same_data(tmp_path, given, expected):
    run = write_run(tmp_path / "run")
    found = next_command(options(run, tmp_path, val="v.fdet", **given))
    assert found == f"fdet evaluate {run} v.fdet{expected}"


def test_a_trained_backbone_needs_the_images_too(tmp_path):
    run = write_run(tmp_path / "run", source="finetune")
    found = next_command(options(run, tmp_path, val="v.fdet", val_images="photos", images="others"))
    assert found.endswith(" v.fdet --images photos")


@pytest.mark.parametrize(
    ("begun", "expected"),
    [
        (0, "30 steps, 12 s, waiting for data 10.0%, best AP"),
        (20, "steps 21 to 30, 12 s, waiting for data 10.0%, best AP"),
        (30, "30 steps, all done before (--set train.epochs=N makes it longer), best AP"),
    ],
)
def test_a_resumed_run_counts_the_steps_that_it_did_itself(tmp_path, begun, expected):
    assert described(summary(tmp_path / "run", begun=begun)).startswith(expected)


def test_a_path_below_the_current_folder_is_relative(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    found = next_command(options(run, tmp_path, val=tmp_path / "my val.fdet"))
    assert found == f"fdet evaluate {run} 'my val.fdet'"
