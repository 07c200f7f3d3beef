"""`fdet evaluate`: the pictures, a run that is not finished, and the comparison with another run."""

import hashlib
import json
import shutil

import pytest
from typer.testing import CliRunner

from fdet.cache.errors import CorruptCache, InputError, StorageError
from fdet.pipeline.cli import app
from fdet.pipeline.evaluation import comparing, evaluate
from fdet.pipeline.evaluation.evaluate import evaluate_run, write_evaluation
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.evaluations import kept_evaluations
from fdet.pipeline.runs.position import LAST
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.step import Stepper
from fdet.pipeline.training.train import train

from ...conftest import extraction
from ..training.runs import options, tiny

THREADS = EvaluateOptions(threads=1)


@pytest.fixture(scope="module")
def runs(exact_cache, dataset, tmp_path_factory):
    """Two runs on the cache, one on other features of the same images, and one of other classes."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        train(tiny("retinanet", f"train.seed={seed}"), options(exact_cache, folder / str(seed)))
    other = folder / "other.fdet"
    extract(extraction(dataset, other, images=dataset.parent / "images", size=64, codec="fp32"))
    train(tiny("retinanet", "train.epochs=1"), options(other, folder / "small"))
    data = json.loads(dataset.read_text())
    data["categories"][2]["name"] = "ring"
    (folder / "ring.json").write_text(json.dumps(data))
    given = TrainOptions(
        cache=exact_cache, out=folder / "ring", threads=1, annotations=folder / "ring.json"
    )
    train(load_config(assignments=["neck.channels=8", "train.epochs=1"]), given)
    return folder


def fdet(*words):
    return CliRunner().invoke(app, [*map(str, words), "--threads", "1"])


def test_an_evaluation_writes_its_figures_and_pictures(runs, exact_cache, tmp_path):
    run = shutil.copytree(runs / "1", tmp_path / "run")
    done = fdet("evaluate", run, exact_cache)
    assert done.exit_code == 0 and "objects" in done.stdout and "not finished" not in done.stdout
    written = [
        line.split(": ")[1] for line in done.stdout.splitlines() if line.startswith("written")
    ]
    names = ("evaluation-exact.json", "curves-exact.png", "confusion-exact.png")
    assert written == [str(run / name) for name in names]
    content = json.loads((run / names[0]).read_text())
    assert list(content["scores"]["classes"]) == ["disc", "square", "cross"]
    assert "unfinished" not in content and "compared" not in content


def test_a_run_that_is_not_finished_is_said_to_be(exact_cache, tmp_path, monkeypatch):
    original, steps = Stepper.step, []

    def interrupted(*given):
        steps.append(given)
        if len(steps) == 4:  # of three in an epoch
            raise KeyboardInterrupt
        return original(*given)

    monkeypatch.setattr(Stepper, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), options(exact_cache, tmp_path / "run", val=exact_cache))
    metrics, results = evaluate_run(tmp_path / "run", exact_cache, THREADS)
    assert metrics.unfinished == {"epochs": 1, "of": 2}
    path = write_evaluation(
        tmp_path / "run", tmp_path / "run", "best", exact_cache, metrics, results
    )
    assert json.loads(path.read_text())["unfinished"] == {"epochs": 1, "of": 2}
    done = fdet("evaluate", tmp_path / "run", exact_cache)
    assert "is not finished: 1 of 2 epochs" in done.stdout
    (tmp_path / "run" / LAST).unlink()
    metrics, _ = evaluate_run(tmp_path / "run", exact_cache, THREADS)
    assert metrics.unfinished == {"epochs": 1, "of": 2}, "which the log says"


def test_two_runs_on_the_same_features_are_compared(runs, exact_cache, tmp_path):
    mine, _ = evaluate_run(runs / "1", exact_cache, THREADS)
    theirs, _ = evaluate_run(runs / "2", exact_cache, THREADS)
    done = fdet("evaluate", runs / "1", exact_cache, "--compare", runs / "2", "--out", tmp_path)
    assert done.exit_code == 0 and f"compared with {runs / '2'}" in done.stdout
    compared = json.loads((tmp_path / "evaluation-exact.json").read_text())["compared"]
    assert compared["ap"] == pytest.approx(theirs.ap)
    assert compared["difference"]["ap"]["difference"] == pytest.approx(mine.ap - theirs.ap)
    assert list(compared["difference"]["per_class"]) == ["disc", "square", "cross"]
    assert compared["difference"]["rounds"] == 1000


def test_a_run_on_other_features_is_taken_from_its_own_evaluation(runs, exact_cache, tmp_path):
    small = shutil.copytree(runs / "small", tmp_path / "small")
    given = EvaluateOptions(threads=1, compare=small)
    with pytest.raises(InputError, match="trained on other features, and keeps no evaluation"):
        evaluate_run(runs / "1", exact_cache, given)
    found = evaluate_run(small, runs / "other.fdet", THREADS)
    path = write_evaluation(small, small, "best", runs / "other.fdet", *found)
    compared = evaluate_run(runs / "1", exact_cache, given)[0].compared
    assert compared.ap == pytest.approx(found[0].ap)
    content = json.loads(path.read_text())
    content["of"]["annotations"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="is of other annotations of these images"):
        evaluate_run(runs / "1", exact_cache, given)


def test_runs_of_other_classes_are_refused_in_one_line(runs, exact_cache):
    done = fdet("evaluate", runs / "1", exact_cache, "--compare", runs / "ring")
    assert done.exit_code == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "its classes are not those of" in done.stderr and "'ring'" in done.stderr
    done = fdet("evaluate", runs / "1", exact_cache, "--compare", runs)
    assert done.exit_code == 2 and "is not a run" in done.stderr


GOOD = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}


def kept_with(tmp_path, raw):
    """An evaluation that names these bytes as its detections."""
    of = {"detections": hashlib.sha256(raw).hexdigest()}
    (tmp_path / "evaluation-val.json").write_text(json.dumps({"of": of}))
    (tmp_path / "detections-val.json").write_bytes(raw)
    (kept,) = kept_evaluations(tmp_path)
    return kept


def test_kept_detections_are_read_without_their_masks(tmp_path):
    raw = json.dumps([{**GOOD, "segmentation": {"counts": "x"}}]).encode()
    assert comparing._read(kept_with(tmp_path, raw)) == [GOOD]


@pytest.mark.parametrize(
    "raw",
    [
        *("[", "{}", "[1]", "[" * 100_000, "[{}]", "null"),
        *(
            json.dumps([{**GOOD, **change}])
            for change in (
                {"bbox": [0, 0, 5]},
                {"bbox": "0005"},
                {"bbox": [0, 0, -1, 5]},
                {"bbox": [float("nan"), 0, 1, 5]},
                {"score": None},
                {"score": 2},
                {"image_id": "1"},
                {"category_id": 1.5},
            )
        ),
    ],
)
def test_kept_detections_may_be_anyone_s(raw, tmp_path):
    with pytest.raises(CorruptCache, match="not detections in COCO's format"):
        comparing._read(kept_with(tmp_path, raw.encode()))


def test_kept_detections_in_other_images_are_refused(runs, exact_cache):
    done = comparing.detected(runs / "1", exact_cache, THREADS)
    other = comparing.OtherDetections(runs / "2", "", [{**GOOD, "image_id": 10**6}], done.digest)
    with pytest.raises(InputError, match="detections in other images"):
        comparing.compared(done, other)


def test_the_figures_are_printed_although_they_cannot_be_written(runs, exact_cache, monkeypatch):
    def full(path, *_, **__):
        raise StorageError(f"{path}: no space left")

    monkeypatch.setattr(evaluate, "publish_bytes", full)
    done = fdet("evaluate", runs / "1", exact_cache)
    assert "AP50" in done.stdout and "all classes" in done.stdout
    assert done.exit_code and isinstance(done.exception, StorageError | SystemExit)
