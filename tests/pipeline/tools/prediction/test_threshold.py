"""--threshold: a score for all classes, or auto, the best of each class by the run's own evaluation."""

import json
import logging
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

import fdet
from fdet.cache.errors import InputError
from fdet.pipeline.cli import app
from fdet.pipeline.runs.evaluations import evaluation_path, file_digest
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict


@pytest.fixture
def run(small_run, tmp_path):
    return shutil.copytree(small_run, tmp_path / "run")


def thresholds(run, photos) -> dict[str, float]:
    """The median score that the run gives to each class."""
    found = fdet.load(run, device="cpu", threshold=0)(sorted(photos.glob("*.png")))
    scores, names = (
        np.concatenate([getattr(each, name) for each in found])
        for name in ("scores", "class_names")
    )
    known = RunInfo.read(run).class_names
    return {n: float(np.median(scores[names == n])) if n in names else 0.9 for n in known}


def keep(run, of_classes) -> None:
    of = {"weights": file_digest(run / "best.safetensors"), "cache": "c" * 64}
    classes = {name: {"threshold": value} for name, value in of_classes.items()}
    path = evaluation_path(run, "val", of)
    path.write_text(json.dumps({"ap": 0.5, "of": of, "scores": {"classes": classes}}))


def test_auto_takes_what_reaches_the_threshold_of_its_class(run, photos, tmp_path):
    limits = thresholds(run, photos)
    keep(run, limits)
    options = PredictOptions(
        device="cpu", threads=1, format="yolo", save_crops=True, recursive=True
    )
    predict(run, [photos], tmp_path / "out", options)
    raw = (tmp_path / "out" / "detections.jsonl").read_text()
    lines = [json.loads(line) for line in raw.splitlines()]
    expected = {
        line["output_name"]: [
            d["score"] for d in line["detections"] if d["score"] >= limits[d["category_name"]]
        ]
        for line in lines
    }
    assert 0 < sum(map(len, expected.values())) < sum(len(line["detections"]) for line in lines)
    for name, scores in expected.items():
        rows = (tmp_path / "out" / "labels" / f"{name}.txt").read_text().splitlines()
        assert [float(row.split()[-1]) for row in rows] == pytest.approx(scores, abs=1e-6)
    crops = list((tmp_path / "out" / "crops").rglob("*.jpg"))
    assert len(crops) <= sum(map(len, expected.values()))


def test_from_python_too(run, photos):
    limits = thresholds(run, photos)
    keep(run, limits)
    paths = sorted(photos.glob("*.png"))
    for every, auto in zip(
        fdet.load(run, device="cpu", threshold=0)(paths),
        fdet.load(run, device="cpu")(paths),
        strict=True,
    ):
        pairs = zip(every.scores.tolist(), every.class_names, strict=True)
        kept = [(score, name) for score, name in pairs if score >= limits[name]]
        assert list(zip(auto.scores.tolist(), auto.class_names, strict=True)) == kept
        assert len(auto.boxes) == len(auto.labels) == len(kept)


def test_a_run_without_an_evaluation_takes_the_old_default_and_says_so(
    run, photos, tmp_path, caplog
):
    caplog.set_level(logging.INFO, "fdet")
    predict(run, [photos], tmp_path / "auto", PredictOptions(device="cpu", threads=1))
    said = [m for m in caplog.messages if "for all classes" in m]
    assert len(said) == 1 and "thresholds for these weights: 0.3 for all classes" in said[0]
    predict(run, [photos], tmp_path / "0.3", PredictOptions(device="cpu", threads=1, threshold=0.3))
    states = [json.loads((tmp_path / n / "prediction.json").read_text()) for n in ("auto", "0.3")]
    assert states[0]["options"] == states[1]["options"]


def test_other_thresholds_make_another_prediction(run, photos, tmp_path):
    """Pictures of one folder must not be drawn by two of them."""
    limits = thresholds(run, photos)
    options = PredictOptions(device="cpu", threads=1)
    predict(run, [photos], tmp_path / "out", options)
    keep(run, limits)
    with pytest.raises(InputError, match=r"--threshold was 0.3, is auto \(evaluation-val.json, "):
        predict(run, [photos], tmp_path / "out", options)
    keep(run, dict.fromkeys(limits, 0.3))
    with pytest.raises(InputError, match=r"--threshold was 0.3, is auto"):
        predict(run, [photos], tmp_path / "out", options)


@pytest.mark.parametrize("words", [["--threshold", "best"], ["--draw-above", "nan"]])
def test_what_is_no_threshold_is_refused(words, run, photos, tmp_path):
    done = CliRunner().invoke(
        app, ["predict", str(run), str(photos), "--out", str(tmp_path / "o"), *words]
    )
    assert done.exit_code == 2
    assert f"--threshold: expected 0 to 1, or auto, got {words[1]}" in done.stderr
