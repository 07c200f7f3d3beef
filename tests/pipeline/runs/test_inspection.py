"""The facts of a run are those of its folder, and no damage of a log or an evaluation ends a command."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.runs import inspection
from fdet.pipeline.runs.evaluations import file_digest
from fdet.pipeline.runs.inspection import (
    inspected,
    scores_of,
    steps_after_evaluation,
    steps_after_training,
)
from fdet.pipeline.runs.kept_options import write_options

from ..tools.reporting.made_up import write_run

METRICS = {
    **{"ap": 0.3, "ap50": 0.6, "ap75": 0.2, "ap_small": None, "ap_medium": 0.3, "images": 40},
    **{"objects": {"cell": 90, "dish": 10}, "sizes": {"small": 100}},
    **{"per_class": {"cell": 0.4, "dish": None}, "errors": {"gains": {"missed": 0.1}}},
}


def keep(run, cache, name="val", **changes):
    """An evaluation of the run's best weights on a cache."""
    of = {"weights": file_digest(run / "best.safetensors"), "cache": cache}
    path = run / f"evaluation-{name}.json"
    path.write_text(json.dumps({**METRICS, "of": of, **changes}))


def test_the_facts_of_a_finished_run(tmp_path):
    run = write_run(
        tmp_path / "run 1", 0.4, settings=["train.clip_norm=0"], views=("plain", "hflip")
    )
    found = inspected(run)
    assert (found.finished, found.epochs, found.done) == (True, 3, 3)
    assert [epoch for epoch, _ in found.curve] == [1, 2, 3]
    assert found.aps == pytest.approx([0.4 / 3, 0.8 / 3, 0.4])
    assert found.losses == ((1, 2 - 1 / 3), (2, 2 - 2 / 3), (3, 1.0))
    assert (found.scores.ap, found.scores.images) == (pytest.approx(0.4), 9)
    assert (found.scores.counted, found.scores.gains) == (None, {})
    assert (found.views, found.cached_views, found.size) == (2, 2, {"size": 64})
    assert (found.classes, found.rare, found.finer) == (2, (), True)
    assert (found.head, found.clip_norm, found.warmup_steps) == ("retinanet", 0, 100)
    assert found.run == f"'{run}'" and not found.same_images and found.diverged is None


def test_settings_say_how_many_views_and_levels_there_are(tmp_path):
    settings = ["train.views=1", "neck.min_level=2", "schedule.name=onecycle"]
    found = inspected(write_run(tmp_path / "run", settings=settings, views=("plain", "hflip")))
    assert (found.views, found.cached_views, found.finer, found.warms_up) == (1, 2, False, False)


def test_an_unfinished_run_and_one_that_diverged(tmp_path):
    run = write_run(tmp_path / "run", reached=2)
    assert not inspected(run).finished
    last = {"kind": "train", "step": 21, "epoch": 3, "diverged": "nan", "seconds": 1.0}
    costs = {"images_per_second": 1.0, "waiting": 0.0, "process_memory_mb": 9}
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({**last, **costs}) + "\n")
    assert inspected(run).diverged == ("nan", 21)
    (run / "last.safetensors").unlink()
    assert not inspected(run).finished
    assert "its loss was nan at step 21" in steps_after_training(run)[1]


def test_the_evaluation_of_the_best_weights_on_the_validation_data_counts(tmp_path):
    run = write_run(tmp_path / "run")
    keep(run, "c" * 64)
    assert inspected(run).scores == scores_of(METRICS)
    assert inspected(run).scores.gains == {"missed": 0.1}
    keep(run, "e" * 64)
    assert inspected(run).scores.ap == pytest.approx(0.4), "of other data"
    keep(run, "c" * 64, of={"cache": "c" * 64, "weights": "f" * 64})
    assert inspected(run).scores.ap == pytest.approx(0.4), "of other weights"


def test_an_evaluation_on_the_training_data_is_told_apart(tmp_path):
    run = write_run(tmp_path / "run")
    trained, _ = json.loads((run / "run.json").read_text())["data"]["training data"].split()
    keep(run, trained, "train", ap=0.9)
    found = inspected(run)
    assert (found.training_ap, found.scores.ap) == (0.9, pytest.approx(0.4))


def of_id(monkeypatch, cache):
    header = SimpleNamespace(id=cache)
    monkeypatch.setattr(inspection, "CacheHeader", SimpleNamespace(read=lambda path: header))


def test_after_an_evaluation_its_own_figures_count(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", epochs=12)
    assert "AP still rises" in steps_after_training(run)[1]
    of_id(monkeypatch, "e" * 64)
    leading = {**METRICS, "errors": {"gains": {"missed": 0.4, "both": 0.1}}}
    heading, line = steps_after_evaluation(run, "last", Path("x.fdet"), leading)
    assert heading == "what to do next:" and line.startswith("- most would be gained by objects")
    nothing = {**METRICS, "ap75": 0.5, "errors": {}}
    assert steps_after_evaluation(run, "last", Path("x.fdet"), nothing) == []


CONFUSED = {**METRICS, "errors": {"gains": {"classification": 0.4, "both": 0.1}}}


def test_the_command_that_shows_confusions_names_the_data_where_they_are_known(
    tmp_path, monkeypatch
):
    run = write_run(tmp_path / "run", epochs=12)
    keep(run, "c" * 64, **CONFUSED)
    before = f"`fdet report {run} --out report.html --val"
    assert f"{before} CACHE`" in steps_after_training(run)[2]
    write_options(run, {"val": f"{tmp_path}/my val.fdet", "val_images": f"{tmp_path}/photos"})
    monkeypatch.chdir(tmp_path)
    (line,) = [each for each in steps_after_training(run) if "fdet report" in each]
    assert f"{before} 'my val.fdet' --images photos`" in line
    of_id(monkeypatch, "e" * 64)
    line = steps_after_evaluation(run, "last", Path("other.fdet"), CONFUSED)[1]
    assert "--val other.fdet`" in line
    line = steps_after_evaluation(run, "last", Path("other.fdet"), CONFUSED, Path("p"))[1]
    assert "--val other.fdet --images p`" in line


@pytest.mark.parametrize(("checkpoint", "said"), [("best", True), ("last", False)])
def test_after_an_evaluation_on_the_training_data_they_are_compared(
    checkpoint, said, tmp_path, monkeypatch
):
    run = write_run(tmp_path / "run")
    trained, _ = json.loads((run / "run.json").read_text())["data"]["training data"].split()
    of_id(monkeypatch, trained)
    lines = steps_after_evaluation(run, checkpoint, Path("x.fdet"), {**METRICS, "ap": 0.95})
    assert bool(lines) == said
    assert not said or "95.0 on the training images and 40.0 on the others" in lines[1]


@pytest.mark.parametrize(
    "odd",
    [
        {"ap": "much"},
        {"ap": True},
        {"ap": None},
        {"ap": 10**400},
        {"ap": float("nan")},
    ],
)
def test_an_ap_that_is_no_number_is_no_score(odd):
    assert scores_of({**METRICS, **odd}) is None
    assert scores_of(None) is None


def test_odd_values_of_other_figures_are_left_out():
    odd = {"ap50": [], "images": None, "objects": [1], "sizes": {"small": "few"}}
    found = scores_of({**METRICS, **odd, "per_class": 7, "errors": {"gains": None}})
    assert (found.ap50, found.images, found.counted) == (None, 1, None)
    assert (found.sizes, found.per_class, found.gains) == ({}, {}, {})


def test_what_cannot_be_read_is_a_warning(tmp_path, caplog):
    run = write_run(tmp_path / "run")
    (run / "metrics.jsonl").write_text("[1]\n")
    assert steps_after_training(run) == []
    assert "what to do next is not known" in caplog.text
    with pytest.raises(InputError, match="is not a run"):
        inspected(tmp_path)
