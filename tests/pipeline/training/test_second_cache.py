"""Runs on the caches of two backbones: trained, evaluated, predicted, resumed; strangers are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fdet.cache.errors import ConfigError, CorruptCache, InputError, KeyMismatch
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.loading import load_run
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict
from fdet.pipeline.training.loop import Loop
from fdet.pipeline.training.train import train

from ..quick import quick
from .runs import assert_same, content, losses, options, rewrite, tensors, tiny

FIRST = {"levels": "c3,c4", "views": "plain,hflip"}
SECOND = {"backbone": "test_vit", "levels": None, "codec": "int8", "store": "hdf5"}
EPOCHS = "train.epochs=4"
LEVELS = "neck.max_level=4"


def tiny_pair(*more):
    return tiny("retinanet", LEVELS, EPOCHS, "head.score_threshold=0.01", "optim.lr=0.01", *more)


@pytest.fixture(scope="module")
def caches(dataset, tmp_path_factory):
    """Of a small ResNet in fp32 and of a small ViT in int8; canvases that suit both."""
    folder = tmp_path_factory.mktemp("pair")
    extract(quick(dataset, folder / "a.fdet", **FIRST, size=160))
    extract(quick(dataset, folder / "b.fdet", **SECOND, size=160))
    return folder / "a.fdet", folder / "b.fdet"


def both(caches, out, **more):
    first, second = caches
    return options(first, out, second=second, **more)


@pytest.fixture(scope="module")
def run(caches, tmp_path_factory):
    first, second = caches
    out = tmp_path_factory.mktemp("runs") / "run"
    train(tiny_pair(), both(caches, out, val=first, val_second=second))
    return out


def test_it_learns_and_the_run_knows_both(run, caches):
    said = [sum(line.values()) for line in losses(run)]
    assert said[-1] < said[0]
    info, detector = load_run(run)
    assert info.backbones == "test_resnet + test_vit"
    names = detector.neck.cached.names
    assert names[0] == "c3" and any(name.startswith("b.") for name in names)
    assert (run / "second" / "codec").is_dir() and not (run / "codec").exists()


def test_evaluate_takes_both(run, caches):
    first, second = caches
    metrics, results = evaluate_run(run, first, EvaluateOptions(second=second))
    assert metrics.images == 12 and results
    with pytest.raises(InputError, match=r"was trained on two caches.*test_vit too, with --with"):
        evaluate_run(run, first)
    with pytest.raises(KeyMismatch, match=f"--with {first}: it holds other features.*backbone"):
        evaluate_run(run, first, EvaluateOptions(second=first))
    with pytest.raises(KeyMismatch, match=f"^{second} holds other features"):
        evaluate_run(run, second, EvaluateOptions(second=second))


def test_predict_finds_what_evaluate_finds(run, caches, dataset, tmp_path):
    first, second = caches
    _, expected = evaluate_run(run, first, EvaluateOptions(second=second))
    predict(
        run,
        [dataset.parent / "images"],
        tmp_path / "out",
        PredictOptions(annotations=dataset, threads=1, recursive=True),
    )
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert len(results) == len(expected) > 20
    order = lambda r: (r["image_id"], -r["score"], r["bbox"])  # noqa: E731
    for ours, theirs in zip(sorted(results, key=order), sorted(expected, key=order), strict=True):
        np.testing.assert_allclose(ours["bbox"], theirs["bbox"], atol=0.01)
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-4)


def test_weights_of_a_second_backbone_that_is_not_there_are_refused(caches, dataset, tmp_path):
    train(tiny_pair("train.epochs=1"), options(caches[0], tmp_path / "run"))
    images = [dataset.parent / "images"]
    with pytest.raises(InputError, match=r"--with-weights: .*one cache alone"):
        predict(tmp_path / "run", images, tmp_path / "out", PredictOptions(second_weights="random"))
    with pytest.raises(InputError, match=r"--with .*trained on one cache alone"):
        evaluate_run(tmp_path / "run", caches[0], EvaluateOptions(second=caches[1]))


def test_resumed_it_is_the_same_run(run, caches, tmp_path, monkeypatch):
    first, second = caches
    chosen = both(caches, tmp_path / "run", val=first, val_second=second)

    plain = Loop._save

    def torn(self):
        plain(self)
        if self.position.step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_save", torn)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_pair(), chosen)
    assert tensors(tmp_path / "run")["optim.0.step"] == 6
    train(tiny_pair(), replace(chosen, resume=True))
    assert_same(tensors(tmp_path / "run"), tensors(run))


@pytest.mark.parametrize("which", [0, 1])
def test_resume_names_the_cache_that_is_another(which, run, caches, dataset, tmp_path):
    """The same features, but another cache: its views are drawn from another seed."""
    changes = (FIRST, SECOND)[which]
    other = tmp_path / "other.fdet"
    extract(quick(dataset, other, **changes, size=160, limit=None, shard_mb=2, batch_size=2))
    given = [other if k == which else path for k, path in enumerate(caches)]
    chosen = both(given, run, val=caches[0], val_second=caches[1], resume=True)
    name = ("training data", "second training cache")[which]
    with pytest.raises(InputError, match=rf"trained on something else: {name};"):
        train(tiny_pair(), chosen)
    without = options(caches[0], run, val=caches[0], resume=True)
    with pytest.raises(InputError, match="second cache: test_vit here, none there"):
        train(tiny_pair(), without)


def test_a_start_that_has_not_seen_the_same_two_moves_in_part(run, caches, tmp_path, caplog):
    settled = "optim.lr=1e-12"
    train(tiny_pair("train.epochs=1", settled), both(caches, tmp_path / "both", start=run))
    assert "trained on other features" not in caplog.text
    alone = options(caches[0], tmp_path / "alone", start=run)
    train(tiny_pair("train.epochs=1", settled), alone)
    assert "second cache: test_vit here, none there" in caplog.text
    before = tensors(run, "best")
    for name, whole in (("both", True), ("alone", False)):
        after = tensors(tmp_path / name, "best")
        same = {
            n for n, v in before.items() if n in after and torch.allclose(v, after[n], atol=1e-6)
        }
        assert {n for n in before if n.startswith("head.")} <= same
        assert (same == set(before)) == whole


def test_what_does_not_go_with_a_second_cache_is_refused(caches, images, tmp_path):
    first, second = caches
    out = tmp_path / "run"
    for changes, message in (
        ({"source": "online", "images": images}, "--with is for cached maps"),
        ({"source": "finetune", "images": images}, "--with is for cached maps"),
        ({"val": first}, "--with needs --val-with"),
        ({"val_second": second}, "--val-with goes with --with and --val"),
    ):
        with pytest.raises(InputError, match=message):
            train(tiny_pair(), both(caches, out, **changes))
    with pytest.raises(InputError, match="--val-with goes with --with and --val"):
        train(tiny_pair(), options(first, out, val=first, val_second=second))
    with pytest.raises(KeyMismatch, match=f"--with {first}: it holds other features"):
        train(tiny_pair(), both(caches, out, val=first, val_second=first))
    with pytest.raises(ConfigError, match=r"'neck\.fusion'"):
        tiny_pair("neck.fusion=sum")
    assert not out.exists()


def test_images_of_the_second_that_are_lacking_are_named(caches, dataset, tmp_path):
    extract(quick(dataset, tmp_path / "b", **SECOND, size=160, limit=5))
    with pytest.raises(KeyMismatch, match="lacks 7 of the 12 images"):
        train(tiny_pair(), both((caches[0], tmp_path / "b"), tmp_path / "run"))


ALTERED = [
    *({"second": value} for value in ([], {}, 0, "vit", True)),
    *({"embedding": value} for value in (-1, 2**20, True, None, 1.5)),
]


def test_a_run_whose_second_key_was_altered_is_refused(run, tmp_path):
    sound, named = content(run), content(run)
    named["second"]["levels"][0]["name"] = "x" * 100
    for changed in (named, *({**sound, **values} for values in ALTERED)):
        rewrite(tmp_path, changed)
        with pytest.raises(CorruptCache, match="unreadable"):
            RunInfo.read(tmp_path)


def test_within_a_memory_limit(forked, caches, tmp_path):
    limit = both(caches, tmp_path / "run", memory_limit=2**40, resident="ram")
    train(tiny_pair("train.epochs=1"), limit)
    data = RunInfo.read(tmp_path / "run").data
    assert any("memory" in name for name in data)
    assert all(bool(torch.isfinite(x).all()) for x in tensors(tmp_path / "run").values())
