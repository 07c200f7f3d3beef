"""COCO's figures against pycocotools on the plain files, and what counts as an image."""

import contextlib
import hashlib
import io
import json
import shutil
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from typer.testing import CliRunner

from fdet.cache.errors import CorruptCache, InputError, KeyMismatch
from fdet.heads.types import Detections
from fdet.pipeline.cli import app
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.evaluation import evaluate as evaluate_module
from fdet.pipeline.evaluation.coco import FIGURES, Metrics, coco_metrics, to_coco_results
from fdet.pipeline.evaluation.digests import own_annotations_digest
from fdet.pipeline.evaluation.engines import ENGINES
from fdet.pipeline.evaluation.evaluate import evaluate_run, write_evaluation
from fdet.pipeline.evaluation.matching import overlaps
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

from ...conftest import extraction
from ..quick import damage


def noisy(annotations, seed=0) -> dict[int, Detections]:
    """Detections near the truth, some of the wrong class, some of nothing."""
    rng = np.random.default_rng(seed)
    found = {}
    for image in annotations.images:
        objects = annotations.of_image(image.id)
        near = objects.boxes + rng.normal(0, 4, objects.boxes.shape)
        nothing = np.array([[2.0, 2.0, 30.0, 30.0]])
        boxes = torch.from_numpy(np.concatenate([near, nothing])).float()
        labels = np.where(rng.random(len(objects)) < 0.2, 0, objects.labels)
        labels = torch.from_numpy(np.append(labels, rng.integers(3)).astype(np.int64))
        scores, order = torch.from_numpy(rng.random(len(labels))).float().sort(descending=True)
        found[image.id] = Detections(boxes[order], scores, labels[order])
    return found


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_pycocotools_on_the_plain_files(seed, engine, dataset, tmp_path):
    annotations, _ = load_annotations(dataset)
    found = noisy(annotations, seed)
    results = tmp_path / "results.json"
    results.write_text(json.dumps(to_coco_results(found, annotations.class_ids, {})))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(dataset))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ours = coco_metrics(annotations, found, engine)
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    each = [float(precision[:, :, k].mean()) for k in range(3)]
    assert list(ours.per_class.values()) == pytest.approx(each, abs=1e-9)
    for name, expected in zip(FIGURES, evaluation.stats, strict=True):
        value = getattr(ours, name)
        assert (value is None) == (expected < 0)
        assert value is None or value == pytest.approx(expected, abs=1e-9)
    assert 0.1 < ours.ap50 < 0.95


def test_perfect_detections_score_one(dataset):
    annotations, _ = load_annotations(dataset)
    found = {}
    for image in annotations.images:
        objects = annotations.of_image(image.id)
        kept = ~objects.crowd
        found[image.id] = Detections(
            torch.from_numpy(objects.boxes[kept]),
            torch.ones(int(kept.sum())),
            torch.from_numpy(objects.labels[kept]),
        )
    metrics = coco_metrics(annotations, found)
    assert metrics.ap == pytest.approx(1.0)
    assert metrics.per_class == pytest.approx({"disc": 1.0, "square": 1.0, "cross": 1.0})


def test_the_objects_that_count_are_counted_by_class_and_size(dataset):
    annotations, _ = load_annotations(dataset)
    metrics = coco_metrics(annotations, noisy(annotations))
    data = json.loads(dataset.read_text())
    kept = [a for a in data["annotations"] if not a["iscrowd"]]
    names = {c["id"]: c["name"] for c in data["categories"]}
    assert dict(metrics.objects) == dict(Counter(names[a["category_id"]] for a in kept))
    areas = np.array([a["area"] for a in kept])
    limits = {"small": areas < 1024, "large": areas >= 9216}
    limits["medium"] = ~limits["small"] & ~limits["large"]
    assert dict(metrics.sizes) == {name: int(limits[name].sum()) for name in metrics.sizes}
    assert set(metrics.sizes) == set(limits)


@pytest.mark.parametrize("engine", ENGINES)
def test_finding_nothing_scores_zero(engine, dataset):
    annotations, _ = load_annotations(dataset)
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    found = {image.id: nothing for image in annotations.images}
    metrics = coco_metrics(annotations, found, engine)
    assert metrics.ap == 0.0


def test_only_the_named_images_count(dataset):
    annotations, _ = load_annotations(dataset)
    found = noisy(annotations)
    half = dict(list(found.items())[:6])
    assert coco_metrics(annotations, half).images == 6
    assert coco_metrics(annotations, half).ap != coco_metrics(annotations, found).ap


def test_an_unknown_engine_is_refused(exact_cache, run):
    with pytest.raises(InputError, match="--engine 'pycoco'; did you mean 'pycocotools'"):
        evaluate_run(run, exact_cache, EvaluateOptions(engine="pycoco"))


@pytest.fixture(scope="module")
def run(exact_cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    low = ["head.score_threshold=0.001", "head.max_detections=20"]
    config = load_config(assignments=["neck.channels=8", "train.epochs=1", *low])
    train(config, TrainOptions(cache=exact_cache, out=out, threads=1))
    return out


def test_failed_images_are_left_out_aloud(run, dataset, tmp_path, caplog):
    folder = tmp_path / "images"
    extract_with_a_broken_image(dataset, folder, tmp_path / "broken.fdet")
    metrics, results = evaluate_run(run, tmp_path / "broken.fdet")
    assert metrics.images == 11
    assert "1 image failed at extraction" in caplog.text
    assert 10 not in {result["image_id"] for result in results}


def extract_with_a_broken_image(dataset, folder, out):
    for source in (dataset.parent / "images").rglob("*.png"):
        target = folder / source.relative_to(dataset.parent / "images")
        target.parent.mkdir(parents=True, exist_ok=True)
        raw = source.read_bytes()
        target.write_bytes(raw[:200] if source.name == "10.png" else raw)
    summary = extract(extraction(dataset, out, images=folder, codec="fp32"))
    assert list(summary.failed) == ["10.png"]


def test_annotations_that_name_fewer_images_are_used_aloud(
    run, exact_cache, dataset, tmp_path, caplog
):
    data = json.loads(dataset.read_text())
    gone = data["images"].pop()["id"]
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] != gone]
    path = tmp_path / "fewer.json"
    path.write_text(json.dumps(data))
    metrics, _ = evaluate_run(run, exact_cache, EvaluateOptions(annotations=path))
    assert metrics.images == 11
    assert "1 image is not in the annotations" in caplog.text


def test_a_cache_of_other_features_is_refused(run, dataset, tmp_path):
    extract(extraction(dataset, tmp_path / "other.fdet", levels="c3,c4", codec="fp32"))
    with pytest.raises(KeyMismatch, match="levels"):
        evaluate_run(run, tmp_path / "other.fdet")


def test_an_evaluation_says_which_data_it_is_of(run, exact_cache, dataset, tmp_path):
    data = json.loads(dataset.read_text())
    data["annotations"] = data["annotations"][1:]
    fewer = tmp_path / "fewer.json"
    fewer.write_text(json.dumps(data))
    written = []
    for annotations in (None, dataset, fewer):
        found = evaluate_run(run, exact_cache, EvaluateOptions(annotations=annotations))
        path = write_evaluation(tmp_path, run, "best", exact_cache, *found)
        written.append((path.name, json.loads(path.read_text())["of"]["annotations"]))
        assert "annotations" not in json.loads(path.read_text())
    own, same, other = written
    assert own == same == ("evaluation-exact.json", own_annotations_digest(exact_cache))
    assert other[0] != own[0]
    assert other[1] == hashlib.sha256(fewer.read_bytes()).hexdigest()


def test_an_evaluation_is_written_whether_or_not_anything_can_be_said_of_the_run(
    run, exact_cache, tmp_path, caplog
):
    out = shutil.copytree(run, tmp_path / "run")
    words = ["evaluate", str(out), str(exact_cache), "--threads", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and (out / "evaluation-exact.json").is_file()
    assert f"written: {out / 'evaluation-exact.json'}" in done.stdout
    (out / "metrics.jsonl").write_text("torn\n")
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and "what to do next is not known" in caplog.text


def test_nms_over_all_classes_is_an_option_and_duplicates_are_recorded(run, exact_cache, tmp_path):
    by_class, results = evaluate_run(run, exact_cache)
    across, apart = evaluate_run(run, exact_cache, EvaluateOptions(nms="agnostic"))

    def overlap(results):
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (r["bbox"] for r in results)]
        image = np.array([r["image_id"] for r in results])
        same = image[:, None] == image[None]
        return (overlaps(np.array(boxes), np.array(boxes)) * same)[~np.eye(len(same), dtype=bool)]

    most = RunInfo.read(run).config.head.nms_iou + 1e-4
    assert overlap(apart).max() <= most < overlap(results).max()
    kept = write_evaluation(tmp_path, run, "best", exact_cache, by_class, results)
    assert set(json.loads(kept.read_text())["duplicates"]) == {"finds", "wrong", "right"}
    assert across.duplicates["wrong"] == 0
    with pytest.raises(InputError, match="--nms 'all'; known: agnostic, class"):
        evaluate_run(run, exact_cache, EvaluateOptions(nms="all"))


def test_a_folder_that_is_no_run_is_refused(exact_cache, tmp_path):
    with pytest.raises(InputError, match="is not a run"):
        evaluate_run(tmp_path, exact_cache)


def test_a_damaged_sample_is_never_left_out(run, exact_cache, tmp_path):
    out = shutil.copytree(exact_cache, tmp_path / "c")
    damage(out, 59)
    with pytest.raises(CorruptCache, match="image 59, view 0"):
        evaluate_run(run, out)
    damage(out, 59)
    assert evaluate_run(run, out)[0].images == 12


def test_a_run_on_several_caches_is_evaluated_on_one(dataset, exact_cache, tmp_path):
    data = json.loads(dataset.read_text())
    data["images"].reverse()
    path = tmp_path / "reversed.json"
    path.write_text(json.dumps(data))
    exact = {"views": "plain,hflip", "codec": "fp32", "limit": 6}
    images = dataset.parent / "images"
    extract(extraction(dataset, tmp_path / "a", **exact))
    extract(extraction(path, tmp_path / "b", images=images, **exact))
    config = load_config(assignments=["neck.channels=8", "train.epochs=1"])
    parts = [tmp_path / "a", tmp_path / "b"]
    train(config, TrainOptions(cache=parts, out=tmp_path / "run", threads=1))
    whole, _ = evaluate_run(tmp_path / "run", exact_cache)
    part, _ = evaluate_run(tmp_path / "run", tmp_path / "a")
    assert (whole.images, part.images) == (12, 6)


def test_of_two_evaluations_that_end_at_once_both_files_are_the_same_ones(tmp_path, monkeypatch):
    """The second begins to write when the first has written one of its two."""
    metrics = Metrics(**dict.fromkeys(FIGURES, 0.0), per_class={}, images=1)
    original, begun = evaluate_module.publish_bytes, threading.Event()

    def slow(path, data, **more):
        original(path, data, **more)
        if not begun.is_set():
            begun.set()
            second.join(0.5)

    def write(number):
        write_evaluation(
            tmp_path, tmp_path, "best", Path("a.fdet"), replace(metrics, images=number), [number]
        )

    second = threading.Thread(target=lambda: (begun.wait(20), write(2)))
    monkeypatch.setattr(evaluate_module, "publish_bytes", slow)
    monkeypatch.setattr(evaluate_module, "weights_digest", lambda *_: "")
    monkeypatch.setattr(evaluate_module, "digests_of", lambda *_: {})
    second.start()
    write(1)
    second.join(20)
    figures = json.loads((tmp_path / "evaluation-a.json").read_text())
    assert figures["images"] == 2
    assert json.loads((tmp_path / "detections-a.json").read_text()) == [2]
