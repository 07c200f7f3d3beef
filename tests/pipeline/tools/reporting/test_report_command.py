"""`fdet report` on a run that was trained: evaluation, gallery, page, and what it refuses."""

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fdet.cache.errors import CorruptCache
from fdet.cache.format.header import CacheHeader
from fdet.pipeline.cli import app
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.position import count_trained
from fdet.pipeline.tools.reporting.assemble import assemble
from fdet.pipeline.tools.reporting.records import errors_of
from fdet.pipeline.tools.reporting.scores import detections_of
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

from ....conftest import extraction
from ....generated import make_dataset
from .made_up import write_run


@pytest.fixture(scope="module")
def runs(exact_cache, tmp_path_factory):
    """One run, trained for an epoch and evaluated on its own cache."""
    folder = tmp_path_factory.mktemp("trained")
    settings = ["neck.channels=8", "train.epochs=1", "head.score_threshold=0.01"]
    options = TrainOptions(cache=exact_cache, val=exact_cache, out=folder / "run", threads=1)
    train(load_config(assignments=settings), options)
    return folder


@pytest.fixture
def images(dataset):
    return dataset.parent / "images"


def fdet(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_errors_and_gallery_are_those_of_the_best_weights(runs, exact_cache, images, tmp_path):
    report = assemble([runs], tmp_path / "page.html", exact_cache, images, threads=1)
    metrics, results = evaluate_run(runs / "run", exact_cache, EvaluateOptions(threads=1))
    (record,) = report.records
    assert record.errors == pytest.approx(dict(metrics.errors.gains))
    assert record.figures["ap"] == pytest.approx(metrics.ap)
    (found,) = report.gallery.found.values()
    assert len(found) == len(report.gallery.images) == 6
    assert 0 < sum(map(len, found)) <= len(results)
    for image in report.gallery.images:
        assert image.uri.startswith("data:image/jpeg;base64,") and image.objects


def test_an_evaluation_is_made_once_and_again_for_other_weights_or_data(
    runs, exact_cache, monkeypatch
):
    made = []

    def counting(run, *rest):
        made.append(run)
        return evaluate_run(run, *rest)

    monkeypatch.setattr("fdet.pipeline.tools.reporting.scores.evaluate_run", counting)
    for path in (runs / "run").glob("evaluation-*"):
        path.unlink()
    assemble([runs], val=exact_cache, threads=1)
    assemble([runs], val=exact_cache, threads=1)
    assert len(made) == 1
    weights = runs / "run" / "best.safetensors"
    os.utime(weights)
    assemble([runs], val=exact_cache, threads=1)
    assert len(made) == 1, "a newer time is no other weights"
    (evaluation,) = (runs / "run").glob("evaluation-*.json")
    said = json.loads(evaluation.read_text())
    for name in ("weights", "cache", "images", "annotations"):
        others = {**said, "of": {**said["of"], name: "ab" * 32}}
        evaluation.write_text(json.dumps(others))
        before = len(made)
        assemble([runs], val=exact_cache, threads=1)
        assert len(made) == before + 1, name
        found = [json.loads(p.read_text()) for p in (runs / "run").glob("evaluation-*.json")]
        assert said in found
        assert (others in found) == (name != "weights"), "an evaluation of other data is kept"
        for path in (runs / "run").glob(f"evaluation-{exact_cache.stem}-*.json"):
            path.unlink()
        evaluation.write_text(json.dumps(said))


def test_an_evaluation_by_an_older_fdet_is_of_the_weights_if_it_is_newer(runs, exact_cache, caplog):
    assemble([runs], val=exact_cache, threads=1)
    (evaluation,) = (runs / "run").glob("evaluation-*.json")
    said = json.loads(evaluation.read_text())
    del said["of"]
    evaluation.write_text(json.dumps(said))
    record = assemble([runs], threads=1).records[0]
    assert record.errors == errors_of(said)
    os.utime(evaluation, (0, 0))
    assert assemble([runs], threads=1).records[0].errors == {}
    os.utime(evaluation)
    assemble([runs], val=exact_cache, threads=1)
    assert len(list((runs / "run").glob("evaluation-*.json"))) == 2, "of which cache is not known"
    evaluation.unlink()
    evaluation.with_name(evaluation.name.replace("evaluation", "detections")).unlink()


def test_detections_of_another_evaluation_are_not_shown(runs, exact_cache):
    report = assemble([runs], val=exact_cache, threads=1)
    (path,) = (runs / "run").glob("detections-*.json")
    path.write_text("[]")
    with pytest.raises(CorruptCache, match="its bytes are not those"):
        detections_of(report.records[0], exact_cache)
    (runs / "run" / path.name.replace("detections", "evaluation")).unlink()


def test_two_caches_of_one_name_have_an_evaluation_each(runs, exact_cache, images, tmp_path):
    """The other cache has other pixels and objects under the same names and ids, even that of the cache."""
    data = make_dataset(tmp_path / "other", seed=1)
    there = tmp_path / "there" / exact_cache.name
    extract(extraction(data, there, views="plain,hflip", codec="fp32"))
    run = Path(shutil.copytree(runs / "run", tmp_path / "runs" / "run"))
    for path in [*run.glob("evaluation-*"), *run.glob("detections-*")]:
        path.unlink()
    expected, written = {}, {}
    for cache in (exact_cache, there):
        done = fdet("evaluate", run, cache, "--threads", 1)
        lines = [line for line in done.stdout.splitlines() if line.startswith("written: ")]
        (written[cache],) = [Path(line[9:]) for line in lines if line.endswith(".json")]
        expected[cache] = evaluate_run(run, cache, EvaluateOptions(threads=1))
    assert [path.name for path in written.values()] == [
        "evaluation-exact.json",
        f"evaluation-exact-{CacheHeader.read(there).id[:8]}.json",
    ]
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    for cache, folder in ((exact_cache, images), (there, data.parent / "images")):
        metrics, results = expected[cache]
        assert json.loads(written[cache].read_text())["ap"] == metrics.ap
        report = assemble([run], tmp_path / "page.html", cache, folder, threads=1)
        assert report.records[0].errors == pytest.approx(dict(metrics.errors.gains))
        assert detections_of(report.records[0], cache) == results
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    assert expected[exact_cache][1] != expected[there][1]


def test_without_a_cache_the_images_go_through_the_backbone(
    runs, exact_cache, images, dataset, tmp_path
):
    report = assemble([runs], tmp_path / "page.html", None, images, threads=1)
    assert all(image.objects is None for image in report.gallery.images)
    assemble([runs], val=exact_cache, threads=1)
    names = {i["file_name"]: i["id"] for i in json.loads(dataset.read_text())["images"]}
    expected = detections_of(report.records[0], exact_cache)
    found = report.gallery.found["run"]
    for image, detections in zip(report.gallery.images, found, strict=True):
        of_image = [r["score"] for r in expected if r["image_id"] == names[image.name]]
        scores = [detection["score"] for detection in detections]
        assert scores == pytest.approx(sorted(of_image, reverse=True), abs=1e-3)


def test_a_run_of_other_features_keeps_its_place(runs, exact_cache, tmp_path, caplog):
    shutil.copytree(runs / "run", tmp_path / "good")
    write_run(tmp_path / "other")
    report = assemble([tmp_path], val=exact_cache, threads=1)
    assert {record.name for record in report.records} == {"good", "other"}
    assert "other is not evaluated" in caplog.text


def test_the_command_writes_a_page_and_prints_what_is_asked(runs, tmp_path):
    done = fdet("report", runs, "--out", tmp_path / "page.html")
    assert done.exit_code == 0 and done.stdout == f"written: {tmp_path / 'page.html'}\n"
    assert "1 run on features of" in (tmp_path / "page.html").read_text()
    table = fdet("report", runs)
    assert table.exit_code == 0 and "1/1" in table.stdout
    assert fdet("report", runs, "--format", "md").stdout.startswith("1 run on features of")
    assert fdet("report", runs, "--format", "csv").stdout.startswith("run,folder,state,")
    for suffix in ("md", "csv", "json"):
        path = tmp_path / f"table.{suffix}"
        assert fdet("report", runs, "--out", path).stdout == f"written: {path}\n"
        assert path.read_text() == fdet("report", runs, "--format", suffix).stdout
    both = fdet("report", runs, "--format", "json", "--out", tmp_path / "page.html")
    assert json.loads(both.stdout)["runs"][0]["run"] == "run"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["TMP/absent"], "absent: no such folder"),
        (["TMP/empty"], "no run in it"),
        (["RUNS", "--out", "TMP/no/page.html"], "expected a file in a folder that exists"),
        (["RUNS", "--out", "TMP/no/page.csv"], "expected a file in a folder that exists"),
        (
            ["RUNS", "--out", "TMP/page.xlsx"],
            "expected a name that ends in .html, .md, .csv or .json",
        ),
        (["RUNS", "--out", "TMP"], "expected a name that ends in .html, .md, .csv or .json"),
        (["RUNS", "--images", "TMP/absent", "--out", "TMP/p.html"], "absent: no such folder"),
        (["RUNS", "--images", "TMP/empty"], "--images is for the page or for --val"),
        (["RUNS", "--val", "TMP/empty"], "is not a cache"),
        (
            ["RUNS", "--out", "TMP/p.html", "--val", "CACHE", "--images", "TMP/empty"],
            "no such file; pictures need the folder",
        ),
        (["RUNS", "--out", "TMP/p.html", "--images", "TMP/empty"], "no images in"),
    ],
)
def test_refusals_are_one_line(words, message, runs, exact_cache, tmp_path):
    (tmp_path / "empty").mkdir()
    places = {"RUNS": str(runs), "CACHE": str(exact_cache)}
    words = [places.get(word, word.replace("TMP", str(tmp_path))) for word in words]
    done = fdet("report", *words)
    assert done.exit_code == 2
    lines = done.stderr.strip().splitlines()
    assert message in lines[-1] and lines[-1].startswith("fdet: ")
    assert not (tmp_path / "p.html").exists()


def test_what_the_optimiser_moved_is_what_is_trained(runs):
    (record,) = assemble([runs]).records
    run = runs / "run"
    assert count_trained(run / "last.safetensors", RunInfo.read(run)) == record.parameters.trained
