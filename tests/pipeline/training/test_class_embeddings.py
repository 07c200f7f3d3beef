"""Runs whose classes are told by vectors: trained, resumed, and asked for other classes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from fdet.cache.errors import ConfigError, InputError
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict
from fdet.pipeline.training import loop
from fdet.pipeline.training.train import train

from .runs import assert_same, options, tensors, tiny

SQUARE, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((16, 16)))
DISC, BLOCK, CROSS, OTHER = SQUARE[:4].astype(np.float32)
CONFIG = (
    *("neck.channels=16", "neck.max_level=5", "head.convs=1", "head.score_threshold=0.02"),
    # Room for what is taken for one class more.
    "head.max_detections=500",
    *("neck.norm=none", "head.norm=none", "head.normaliser=image"),
    *("train.epochs=4", "train.batch_size=4", "train.clip_norm=10.0", "optim.lr=0.01"),
)


@pytest.fixture(scope="module")
def names(dataset):
    """Of the three classes, by label."""
    categories = json.loads(dataset.read_text())["categories"]
    return [c["name"] for c in sorted(categories, key=lambda c: c["id"])]


@pytest.fixture(scope="module")
def given(names, tmp_path_factory):
    return saved(tmp_path_factory.mktemp("classes") / "c.safetensors", names, (DISC, BLOCK, CROSS))


def saved(path, names, vectors):
    save_file(dict(zip(names, vectors, strict=True)), path)
    return path


@pytest.fixture(scope="module")
def run(exact_cache, given, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    config = load_config(head="retinanet", assignments=CONFIG)
    train(config, options(exact_cache, out, val=exact_cache, class_embeddings=given))
    return out


def as_rows(results, ids=lambda i: i):
    return sorted((r["image_id"], ids(r["category_id"]), r["score"], *r["bbox"]) for r in results)


def assert_alike(one, other):
    assert len(one) == len(other) > 20
    np.testing.assert_allclose(one, other, atol=0.02)


def test_the_run_keeps_the_vectors_and_needs_the_file_no_more(run, exact_cache, given):
    assert RunInfo.read(run).embedding == 16
    (kept,) = [v for n, v in tensors(run, "best").items() if n.endswith("vectors")]
    np.testing.assert_allclose(kept, [DISC, BLOCK, CROSS], atol=1e-6)
    _, own = evaluate_run(run, exact_cache)
    _, same = evaluate_run(run, exact_cache, EvaluateOptions(class_embeddings=given))
    assert as_rows(own) == as_rows(same)


def test_it_learns(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    said = [sum(line["losses"].values()) for line in lines if line["kind"] == "train"]
    assert said[-1] < 0.8 * said[0]


def test_with_their_vectors_swapped_the_classes_are_swapped(run, exact_cache, names, tmp_path):
    path = saved(tmp_path / "swapped.safetensors", names, (BLOCK, DISC, CROSS))
    first, second, third = RunInfo.read(run).class_ids
    _, own = evaluate_run(run, exact_cache)
    _, found = evaluate_run(run, exact_cache, EvaluateOptions(class_embeddings=path))
    assert {r["category_id"] for r in own} == {first, second, third}
    assert_alike(as_rows(found, {first: second, second: first, third: third}.get), as_rows(own))


def test_annotations_of_other_classes_are_evaluated(run, exact_cache, dataset, names, tmp_path):
    """The same objects under new names and ids, and a class that nothing belongs to."""
    data = json.loads(dataset.read_text())
    for category in data["categories"]:
        category["name"], category["id"] = f"new {category['name']}", category["id"] + 100
    for entry in data["annotations"]:
        entry["category_id"] += 100
    data["categories"].append({"id": 7, "name": "nothing"})
    (tmp_path / "new.json").write_text(json.dumps(data))
    new = [f"new {name}" for name in names]
    path = saved(
        tmp_path / "c.safetensors", [*new, "nothing", "unused"], (DISC, BLOCK, CROSS, OTHER, OTHER)
    )
    metrics, found = evaluate_run(
        run, exact_cache, EvaluateOptions(annotations=tmp_path / "new.json", class_embeddings=path)
    )
    known, own = evaluate_run(run, exact_cache)
    kept = [r for r in found if r["category_id"] != 7]
    assert {r["category_id"] for r in kept} == {i + 100 for i in RunInfo.read(run).class_ids}
    assert len(own) > 20 and metrics.ap == pytest.approx(known.ap, abs=0.02)
    with pytest.raises(InputError, match="its classes are not those"):
        evaluate_run(run, exact_cache, EvaluateOptions(annotations=tmp_path / "new.json"))


def test_groups_of_other_classes_are_those_of_their_annotations(
    run, exact_cache, dataset, names, tmp_path
):
    """The last class alone, under a new name: in training there were more, of other groups."""
    data = json.loads(dataset.read_text())
    kept = max(data["categories"], key=lambda c: c["id"])
    data["categories"] = [{"id": kept["id"], "name": "new"}]
    data["annotations"] = [a for a in data["annotations"] if a["category_id"] == kept["id"]]
    (tmp_path / "new.json").write_text(json.dumps(data))
    path = saved(tmp_path / "c.safetensors", ["new"], [CROSS])
    given = {"annotations": tmp_path / "new.json", "class_embeddings": path}
    metrics, _ = evaluate_run(run, exact_cache, EvaluateOptions(**given))
    assert metrics.ap is not None and metrics.ap_rare == metrics.ap
    assert metrics.ap_common is None and metrics.ap_frequent is None
    data["categories"][0]["frequency"] = "c"
    (tmp_path / "new.json").write_text(json.dumps(data))
    metrics, _ = evaluate_run(run, exact_cache, EvaluateOptions(**given))
    assert metrics.ap_common == metrics.ap and metrics.ap_rare is None


def test_predict_finds_one_new_class_alone(run, dataset, names, tmp_path):
    path = saved(tmp_path / "c.safetensors", ["thing"], [BLOCK])
    files = [dataset.parent / "images"]
    predict(run, files, tmp_path / "own", PredictOptions(threads=1))
    predict(run, files, tmp_path / "new", PredictOptions(threads=1, class_embeddings=path))
    own, found = (
        json.loads((tmp_path / n / "detections.json").read_text()) for n in ("own", "new")
    )
    assert {r["category_id"] for r in found} == {1}
    second = RunInfo.read(run).class_ids[1]
    # Alone a class may have all of an image's detections.
    best = {(r["image_id"], *r["bbox"]) for r in found}
    assert {(r["image_id"], *r["bbox"]) for r in own if r["category_id"] == second} <= best


def test_with_annotations_the_ids_are_theirs(run, dataset, given, tmp_path):
    predict(
        run,
        [dataset.parent / "images"],
        tmp_path / "out",
        PredictOptions(annotations=dataset, threads=1, class_embeddings=given, recursive=True),
    )
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {r["category_id"] for r in results} <= set(RunInfo.read(run).class_ids)


def test_resumed_it_is_the_same_run_and_others_vectors_are_refused(
    run, exact_cache, given, names, tmp_path, monkeypatch
):
    chosen = options(exact_cache, tmp_path / "run", val=exact_cache, class_embeddings=given)
    plain = loop.Loop._save

    def torn(self):
        plain(self)
        if self.position.step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_save", torn)
        with pytest.raises(KeyboardInterrupt):
            train(load_config(head="retinanet", assignments=CONFIG), chosen)
    other = saved(tmp_path / "other.safetensors", names, (DISC, BLOCK, OTHER))
    with pytest.raises(InputError, match="trained on something else: class embeddings;"):
        train(
            load_config(head="retinanet", assignments=CONFIG),
            replace(chosen, class_embeddings=other, resume=True),
        )
    train(load_config(head="retinanet", assignments=CONFIG), replace(chosen, resume=True))
    assert_same(tensors(tmp_path / "run"), tensors(run))


def test_a_start_may_have_other_vectors_of_the_same_length(run, exact_cache, names, tmp_path):
    path = saved(tmp_path / "c.safetensors", names, (BLOCK, OTHER, CROSS))
    config = load_config(
        head="retinanet", assignments=[*CONFIG, "train.epochs=1", "optim.lr=1e-12"]
    )
    train(config, options(exact_cache, tmp_path / "run", start=run, class_embeddings=path))
    (kept,) = [v for n, v in tensors(tmp_path / "run", "best").items() if n.endswith("vectors")]
    np.testing.assert_allclose(kept, [BLOCK, OTHER, CROSS], atol=1e-6)
    with pytest.raises(InputError, match="class embeddings have 16 values, this run's have 0"):
        train(config, options(exact_cache, tmp_path / "plain", start=run))


def test_what_cannot_be_is_refused_in_one_line(run, exact_cache, names, tmp_path):
    lacking = saved(tmp_path / "lacking.safetensors", names[:2], [DISC, BLOCK])
    short = saved(tmp_path / "short.safetensors", names, (DISC[:8], BLOCK[:8], CROSS[:8]))
    chosen = options(exact_cache, tmp_path / "run", class_embeddings=lacking)
    with pytest.raises(InputError, match=f"no vector for 1 of 3 classes: '{names[2]}'"):
        train(tiny(), chosen)
    with pytest.raises(InputError, match="no vector for 1 of 3 classes"):
        evaluate_run(run, exact_cache, EvaluateOptions(class_embeddings=lacking))
    with pytest.raises(ConfigError, match="expected vectors of 16 values, as in training, got 8"):
        evaluate_run(run, exact_cache, EvaluateOptions(class_embeddings=short))
    with pytest.raises(ConfigError, match=r"'head\.class_agnostic': expected true"):
        train(tiny("faster-rcnn"), replace(chosen, class_embeddings=short))
    assert not (tmp_path / "run").exists()
    train(tiny("retinanet", "train.epochs=1"), replace(chosen, class_embeddings=None))
    with pytest.raises(InputError, match="trained without them and knows only its own classes"):
        evaluate_run(tmp_path / "run", exact_cache, EvaluateOptions(class_embeddings=short))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["fcos", "tal", "faster-rcnn", "cascade-rcnn"])
def test_every_head_trains_and_is_evaluated(head, exact_cache, given, tmp_path):
    small = {
        "faster-rcnn": ("head.fc_channels=32", "head.class_agnostic=true"),
        "cascade-rcnn": ("head.fc_channels=32",),
    }
    few = small.get(head, ("head.convs=1",))
    settings = ["neck.channels=8", "neck.max_level=5", "train.epochs=1", *few]
    chosen = options(exact_cache, tmp_path / "run", class_embeddings=given)
    train(load_config(head=head, assignments=settings), chosen)
    metrics, _ = evaluate_run(
        tmp_path / "run", exact_cache, EvaluateOptions(class_embeddings=given)
    )
    assert metrics.images == 12
    assert all(bool(torch.isfinite(v).all()) for v in tensors(tmp_path / "run").values())
