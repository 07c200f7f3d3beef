"""Beginning with another run's weights: what of them fits moves, and what does not is said."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from fdet.cache.errors import InputError, KeyMismatch
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.training.step import Stepper
from fdet.pipeline.training.train import train

from ...conftest import extraction
from .runs import assert_same, lines, options, tensors, tiny

FINETUNE = ("backbone.train_from=c5", "schedule.warmup_steps=0")


@pytest.fixture(scope="module")
def heads_first(live_cache, tmp_path_factory):
    run = tmp_path_factory.mktemp("start") / "heads"
    train(tiny(), options(live_cache, run, val=live_cache))
    return run


def first_step(monkeypatch):
    """[weights before it, losses of it]"""
    seen = []
    original = Stepper.step

    def watching(stepper, batches, size, number, total):
        before = {n: v.clone() for n, v in stepper.model.tensors().items()}
        done = original(stepper, batches, size, number, total)
        if number == 0:
            seen.extend([before, {n: float(v) for n, v in done.losses.items()}])
        return done

    monkeypatch.setattr(Stepper, "step", watching)
    return seen


def test_heads_first_then_the_backbone_unfrozen(
    heads_first, live_cache, images, tmp_path, monkeypatch
):
    """The first step sees the cached run's weights, and has the losses that they have on the cache."""
    live = {"source": "finetune", "images": images, "start": heads_first}
    with monkeypatch.context() as patch:
        seen = first_step(patch)
        train(tiny("retinanet", *FINETUNE), options(live_cache, tmp_path / "live", **live))
    before, on_images = seen
    detector = {n: v for n, v in before.items() if not n.startswith("backbone.")}
    assert_same(detector, tensors(heads_first, "best"))
    with monkeypatch.context() as patch:
        seen = first_step(patch)
        train(tiny(), options(live_cache, tmp_path / "cached", start=heads_first))
    for name, loss in seen[1].items():
        assert on_images[name] == pytest.approx(loss, rel=1e-5)


def test_a_run_that_began_so_resumes_and_wants_the_same_beginning(
    heads_first, live_cache, images, tmp_path
):
    config = tiny("retinanet", *FINETUNE, "train.epochs=1")
    started = options(
        live_cache, tmp_path / "run", source="finetune", images=images, start=heads_first
    )
    train(config, started)
    assert train(config, replace(started, resume=True)).steps == 3
    with pytest.raises(InputError, match="trained on something else: start"):
        train(config, replace(started, resume=True, start=None))


def test_a_finetuned_run_may_be_gone_on_with_and_takes_its_backbone_along(
    live_cache, images, tmp_path, monkeypatch
):
    live = {"source": "finetune", "images": images}
    config = tiny("retinanet", *FINETUNE, "train.epochs=1", "optim.backbone_factor=1")
    train(config, options(live_cache, tmp_path / "a", **live))
    seen = first_step(monkeypatch)
    train(config, options(live_cache, tmp_path / "b", start=tmp_path / "a", **live))
    assert_same(seen[0], tensors(tmp_path / "a", "best"))
    with pytest.raises(InputError, match="trained a backbone of its own, and --source cached uses"):
        train(tiny(), options(live_cache, tmp_path / "c", start=tmp_path / "a"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ("retinanet", "neck.norm=gn"),
            "another neck; give the same settings: --set 'neck.norm=\"none\"'",
        ),
        (("retinanet", "head.convs=2"), "another head; .*: --set head.convs=1$"),
        (("faster-rcnn",), "another head; .*head.name=.*retinanet"),
    ],
)
def test_another_detector_is_refused(settings, said, heads_first, live_cache, tmp_path):
    with pytest.raises(InputError, match=said):
        train(tiny(*settings), options(live_cache, tmp_path / "run", start=heads_first))
    assert not (tmp_path / "run").exists()


def started(monkeypatch, config, given):
    """The weights before the first step of a training."""
    seen = first_step(monkeypatch)
    train(config, given)
    return seen[0]


def test_on_the_features_of_another_backbone_what_reads_them_is_fresh_and_it_is_said(
    heads_first, dataset, tmp_path, monkeypatch, caplog
):
    """Of another backbone though the maps have the same size."""
    backbone = {"backbone": "test_efficientnet", "weights": "random", "levels": "c3,c4,c5"}
    other = tmp_path / "other.fdet"
    extract(
        extraction(dataset, other, size=64, seed=1, views="plain,hflip", codec="fp32", **backbone)
    )
    begun = started(monkeypatch, tiny(), options(other, tmp_path / "run", start=heads_first))
    theirs = tensors(heads_first, "best")
    same = {name for name, value in begun.items() if torch.equal(value, theirs[name])}
    assert {name for name in begun if "inner_blocks" in name or "lateral" in name} - same
    assert not any("inner_blocks" in name and "weight" in name for name in same)
    assert {name for name in begun if name.startswith("head.")} <= same
    (line,) = [
        r.getMessage()
        for r in caplog.records
        if r.levelname == "WARNING" and "--start" in r.getMessage()
    ]
    assert "was trained on other features: weights_sha256: " in line
    assert "tensors move, and those that read them begin fresh" in line


def test_on_other_canvases_of_the_same_backbone_all_moves(
    heads_first, dataset, tmp_path, monkeypatch, caplog
):
    backbone = {"backbone": "test_efficientnet", "weights": "random", "levels": "c3,c4,c5"}
    larger = tmp_path / "larger.fdet"
    extract(extraction(dataset, larger, size=96, views="plain,hflip", codec="fp32", **backbone))
    begun = started(monkeypatch, tiny(), options(larger, tmp_path / "run", start=heads_first))
    assert_same(begun, tensors(heads_first, "best"))
    assert "short: 64 here, 96 there" in caplog.text
    assert "all weights move" in caplog.text


def test_classes_are_matched_by_name(
    heads_first, live_cache, dataset, tmp_path, monkeypatch, caplog
):
    """Two change places and one has another name."""
    caplog.set_level("INFO", "fdet")
    coco = json.loads(dataset.read_text())
    names = [c["name"] for c in coco["categories"]]
    new = [names[1], names[0], "novel", *names[3:]]
    for category, name in zip(coco["categories"], new, strict=True):
        category["name"] = name
    path = tmp_path / "renamed.json"
    path.write_text(json.dumps(coco))
    begun = started(
        monkeypatch,
        tiny(),
        options(live_cache, tmp_path / "run", start=heads_first, annotations=path),
    )
    theirs = tensors(heads_first, "best")
    name = "head.classification_head.cls_logits.weight"
    mine, other = (x[name].unflatten(0, (-1, len(names))) for x in (begun, theirs))
    assert torch.equal(mine[:, 0], other[:, 1])
    assert torch.equal(mine[:, 1], other[:, 0])
    assert not torch.equal(mine[:, 2], other[:, 2])
    assert torch.equal(mine[:, 3:], other[:, 3:])
    assert_same(
        {n: v for n, v in begun.items() if "cls_logits" not in n},
        {n: v for n, v in theirs.items() if "cls_logits" not in n},
    )
    kept = ", ".join([names[1], names[0], *names[3:]])
    said = (
        f"classes whose weights move: {kept}; that begin fresh: novel; that are dropped: {names[2]}"
    )
    assert f"--start {heads_first}: {said}" in caplog.messages


def test_only_a_run_of_the_same_backbone_can_bring_a_backbone(
    live_cache, images, dataset, tmp_path
):
    live = {"source": "finetune", "images": images}
    config = tiny("retinanet", *FINETUNE, "train.epochs=1")
    train(config, options(live_cache, tmp_path / "a", **live))
    backbone = {"backbone": "test_efficientnet", "weights": "random", "levels": "c3,c4,c5"}
    other = tmp_path / "other.fdet"
    extract(extraction(dataset, other, size=64, seed=1, views="plain,hflip", **backbone))
    with pytest.raises(KeyMismatch, match="trained on other features"):
        train(config, options(other, tmp_path / "b", start=tmp_path / "a", **live))


def test_a_run_without_weights_is_refused(heads_first, live_cache, tmp_path):
    run = shutil.copytree(heads_first, tmp_path / "heads")
    (run / "best.safetensors").unlink()
    with pytest.raises(InputError, match=r"it has no best\.safetensors, which a run has from"):
        train(tiny(), options(live_cache, tmp_path / "run", start=run))
    with pytest.raises(InputError, match="is not a run"):
        train(tiny(), options(live_cache, tmp_path / "run", start=tmp_path))


def test_it_is_the_best_evaluation_that_it_begins_with(heads_first):
    assert max(line["metrics"]["ap"] or 0.0 for line in lines(heads_first, "eval")) >= 0
    best = tensors(heads_first, "best")
    assert all(bool(torch.isfinite(v).all()) for v in best.values())


def test_anchors_of_the_weights_go_before_those_that_the_data_would_get(live_cache, tmp_path):
    few = tiny("retinanet", "head.anchor_scales=[2.0, 9.0]")
    train(few, options(live_cache, tmp_path / "few"))
    train(tiny(), options(live_cache, tmp_path / "next", start=tmp_path / "few"))
    kept, alone = (RunInfo.read(tmp_path / name).config.head for name in ("next", "few"))
    assert kept.anchor_scales == (2.0, 9.0)
    assert kept.normaliser == alone.normaliser
    train(tiny(), options(live_cache, tmp_path / "alone"))
    assert RunInfo.read(tmp_path / "alone").config.head.anchor_scales != (2.0, 9.0)
