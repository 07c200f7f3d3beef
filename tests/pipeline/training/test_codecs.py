"""Runs on caches whose codec learnt something: what they read, keep, and find again without the cache."""

import json
import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fdet.cache.codecs.codec import codec_of
from fdet.cache.errors import CorruptCache, KeyMismatch
from fdet.cache.format.header import CacheHeader
from fdet.pipeline.backbones.loading import load_backbone_of
from fdet.pipeline.cli import app
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.sources.coded import CodedSource
from fdet.pipeline.sources.data import open_cached
from fdet.pipeline.sources.live import LiveSource
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict
from fdet.pipeline.tools.upkeep.convert import Conversion, convert
from fdet.pipeline.training.train import train

from ...conftest import extraction
from .runs import assert_same, lines, losses, options, tensors, tiny

CPU = torch.device("cpu")
FOUND = ("head.score_threshold=0.01", "head.max_detections=20", "optim.lr=0.005")
SMALL = {
    "backbone": "test_efficientnet",
    "weights": "random",
    "levels": "c3,c4,c5",
    "size": 64,
    "views": "plain,hflip",
}


def made(dataset, out, **changes):
    extract(extraction(dataset, out, **{**SMALL, "codec": "int5+pca", **changes}))
    return out


@pytest.fixture(scope="module")
def coded(dataset, tmp_path_factory):
    """int5+pca; read only."""
    return made(dataset, tmp_path_factory.mktemp("coded") / "c.fdet")


@pytest.fixture(scope="module")
def run(coded, tmp_path_factory):
    """On all of the cache, which validates it too; read only."""
    out = tmp_path_factory.mktemp("run") / "run"
    train(tiny("retinanet", *FOUND), options(coded, out, val=coded))
    return out


def codec_tree(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("codec/*/*.npy")}


def test_a_run_keeps_the_files_of_its_codec(coded, run):
    assert codec_tree(run) == codec_tree(coded)
    assert len(codec_tree(run)) == 3 * len(["step", "shift", "mean", "deviation", "basis"])


def test_what_is_read_is_the_live_pyramid_through_the_codec_bit_for_bit(coded, images):
    data = open_cached([coded], None, CPU)
    header = CacheHeader.read(coded)
    backbone = load_backbone_of(header.key, CPU)
    live = LiveSource(header, images, backbone, 0)
    passed = CodedSource(live, codec_of(coded, header.key))
    batches = [[(10, 0), (17, 1)], [(31, 1)]]
    for one, two, raw in zip(*(s.load(batches) for s in (data.source, passed, live)), strict=True):
        assert (one.samples, one.placements) == (two.samples, two.placements)
        for x, y, z in zip(one.pyramid().maps, two.pyramid().maps, raw.pyramid().maps, strict=True):
            assert torch.equal(x, y) and not torch.equal(x, z)
    assert passed.skipped == frozenset()


def test_samples_in_memory_give_the_same_weights(coded, run, tmp_path):
    train(tiny("retinanet", *FOUND), options(coded, tmp_path / "run", val=coded, resident="ram"))
    assert_same(tensors(tmp_path / "run"), tensors(run))


def test_predict_finds_what_evaluate_finds_also_without_the_cache(
    dataset, images, run, coded, tmp_path
):
    _, found = evaluate_run(run, coded)
    alone = shutil.copytree(run, tmp_path / "alone")
    predict(alone, [images], tmp_path / "out", PredictOptions(annotations=dataset, recursive=True))
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert len(results) == len(found) > 50
    order = lambda r: (r["image_id"], -round(r["score"], 4), r["category_id"])  # noqa: E731
    for ours, theirs in zip(sorted(results, key=order), sorted(found, key=order), strict=True):
        assert ours["category_id"] == theirs["category_id"]
        assert ours["score"] == pytest.approx(theirs["score"], rel=1e-5)
        np.testing.assert_allclose(ours["bbox"], theirs["bbox"], atol=0.02)


def test_a_finer_codec_would_have_found_something_else(dataset, images, run, tmp_path, monkeypatch):
    """So the figures agree because the features pass through the codec."""
    for name in ("coded", "plain"):
        if name == "plain":
            monkeypatch.setattr(
                "fdet.pipeline.evaluation.detecting.through", lambda codec, pyramid: pyramid
            )
        predict(run, [images / "10.png"], tmp_path / name, PredictOptions(annotations=dataset))
    scores = [
        [r["score"] for r in json.loads((tmp_path / name / "detections.json").read_text())]
        for name in ("coded", "plain")
    ]
    assert scores[0] != pytest.approx(scores[1], rel=1e-4)


@pytest.mark.parametrize("change", ["flipped", "cut", "gone", "infinite"])
def test_a_run_whose_codec_is_damaged_is_refused_in_a_line(change, run, images, tmp_path):
    broken = shutil.copytree(run, tmp_path / "run")
    path = broken / "codec" / "c4" / "step.npy"
    raw = path.read_bytes()
    path.write_bytes(
        {
            "flipped": raw[:-1] + bytes([raw[-1] ^ 1]),
            "cut": raw[:-4],
            "gone": raw,
            "infinite": raw[:-4] + np.float32(np.inf).tobytes(),
        }[change]
    )
    if change == "gone":
        path.unlink()
    words = ["predict", broken, images / "10.png", "--out", tmp_path / "out"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    named = broken / "codec" / ("c4/step.npy" if change in ("cut", "gone") else "")
    assert str(named) in line
    assert not (tmp_path / "out").exists()


def test_resume_puts_a_codec_back(run, coded, images, tmp_path):
    """A kill may have come between run.json and the codec's files."""
    begun = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(begun / "codec")
    train(tiny("retinanet", *FOUND), options(coded, begun, val=coded, resume=True))
    assert codec_tree(begun) == codec_tree(coded)


def test_resume_on_the_same_features_in_another_codec_is_refused(dataset, run, coded, tmp_path):
    other = made(dataset, tmp_path / "other", codec="int6")
    begun = shutil.copytree(run, tmp_path / "run")
    with pytest.raises(Exception, match="was trained on something else"):
        train(tiny("retinanet", *FOUND), options(other, begun, val=coded, resume=True))
    assert codec_tree(begun) == codec_tree(run)


def test_a_validation_cache_may_have_another_codec_and_is_read_by_its_own(
    dataset, run, coded, tmp_path
):
    exact = made(dataset, tmp_path / "exact", codec="fp32")
    _, found = evaluate_run(run, exact)
    train(tiny("retinanet", *FOUND), options(coded, tmp_path / "run", val=exact))
    assert_same(tensors(tmp_path / "run"), tensors(run))
    metrics, _ = evaluate_run(run, exact, EvaluateOptions(checkpoint="last"))
    last = lines(tmp_path / "run", "eval")[-1]["metrics"]
    assert metrics.ap == pytest.approx(last["ap"], abs=1e-6) and found


@pytest.fixture(scope="module")
def parts(dataset, tmp_path_factory):
    """The first six images and the last six: b with the calibration of a, c with its own."""
    folder = tmp_path_factory.mktemp("parts")
    data = json.loads(dataset.read_text())
    data["images"] = data["images"][6:] + data["images"][:6]
    (folder / "turned.json").write_text(json.dumps(data))
    shared = {"images": dataset.parent / "images", "limit": 6}
    a = made(dataset, folder / "a", **shared)
    b = made(folder / "turned.json", folder / "b", calibration=a, store="hdf5", **shared)
    return a, b, made(folder / "turned.json", folder / "c", **shared)


def test_two_caches_of_one_calibration_train_as_one(parts, dataset, tmp_path):
    a, b, _ = parts
    # A shard of the whole is as large as a part, so that both have the same order of images.
    whole = made(dataset, tmp_path / "whole", calibration=a)
    train(tiny(), options([a, b], tmp_path / "parts", val=b))
    train(tiny(), options(whole, tmp_path / "run", val=b))
    assert losses(tmp_path / "parts") == losses(tmp_path / "run")
    assert_same(tensors(tmp_path / "parts"), tensors(tmp_path / "run"))
    assert codec_tree(tmp_path / "parts") == codec_tree(a)


def test_two_caches_of_two_calibrations_are_refused_with_the_advice(parts, tmp_path):
    a, b, c = parts
    words = ["train-heads", a, c, "--out", tmp_path / "run"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert f"{a} (here) and {c} (there) cannot be read as one: calibration: " in line
    assert line.endswith(f"; make the second with `--calibration {a}`")
    assert not (tmp_path / "run").exists()
    with pytest.raises(KeyMismatch, match="cannot be read as one"):
        open_cached([b, c], None, CPU)


def test_a_converted_cache_trains_as_one_that_was_extracted(live_cache, dataset, tmp_path):
    convert(live_cache, tmp_path / "converted", Conversion(codec="int5+pca"))
    direct = made(dataset, tmp_path / "direct")
    for name in ("converted", "direct"):
        train(tiny("faster-rcnn"), options(tmp_path / name, tmp_path / f"{name}-run"))
    assert_same(tensors(tmp_path / "converted-run"), tensors(tmp_path / "direct-run"))
    assert codec_tree(tmp_path / "converted-run") == codec_tree(direct)


def test_a_memory_limit_is_tried_and_kept_on_codes_too(forked, coded, run, tmp_path):
    limited = options(coded, tmp_path / "run", val=coded, memory_limit=2**40)
    train(tiny("retinanet", *FOUND), limited)
    assert_same(tensors(tmp_path / "run"), tensors(run))
    assert codec_tree(tmp_path / "run") == codec_tree(coded)


def test_a_cache_without_its_scales_trains_nothing(coded, tmp_path):
    broken = shutil.copytree(coded, tmp_path / "c")
    (broken / "codec" / "c3" / "basis.npy").unlink()
    with pytest.raises(CorruptCache, match=r"codec/c3/basis\.npy"):
        train(tiny(), options(broken, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_online_training_does_not_pass_through_the_codec(coded, images, live_cache, tmp_path):
    """It is what a lossless cache is: the codec is what one wants to do without."""
    more = {"source": "online", "images": images}
    train(tiny(), options(coded, tmp_path / "coded", **more))
    train(tiny(), options(live_cache, tmp_path / "exact", **more))
    assert_same(tensors(tmp_path / "coded"), tensors(tmp_path / "exact"))
