"""The bits of deep pixels: decided once for a cache, and the same for everything that reads its images."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fdet.cache.errors import InputError, KeyMismatch
from fdet.cache.format.header import CacheHeader
from fdet.cache.pairs import PairedCache
from fdet.cache.reader import FeatureCache
from fdet.pipeline.dataset.images.canvases import recipe_of, render
from fdet.pipeline.dataset.images.decoding import load_image
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.extraction import creation
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

from ...generated import make_dataset
from ..quick import quick, tree

HIGH = 4031
SAID = f"deep pixels reach {HIGH} in 6 of 6 deep images: read as 12 bits; --bits to change"


def deepen(dataset, high=HIGH):
    """Make all images of a data set grey of 16 bits with values up to `high`."""
    for path in (dataset.parent / "images").rglob("*.png"):
        values = np.asarray(Image.open(path).convert("L")).astype(float)
        stretched = (values - values.min()) / (values.max() - values.min()) * high
        Image.fromarray(stretched.round().astype(np.uint16)).save(path)
    return dataset


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A data set that uses 12 of 16 bits; read only."""
    return deepen(make_dataset(tmp_path_factory.mktemp("deep"), images=6))


@pytest.fixture(scope="module")
def twelve(deep, tmp_path_factory):
    """Its cache, made without --bits; read only."""
    out = tmp_path_factory.mktemp("twelve") / "a.fdet"
    extract(quick(deep, out))
    return out


@pytest.fixture(scope="module")
def sixteen(deep, tmp_path_factory):
    """What an fdet without --bits made of it; read only."""
    out = tmp_path_factory.mktemp("sixteen") / "a.fdet"
    extract(quick(deep, out, bits=16))
    return out


def bits_of(cache):
    return CacheHeader.read(cache).key.bits


def test_the_range_is_looked_at_said_and_recorded(deep, tmp_path, caplog):
    extract(quick(deep, tmp_path / "a.fdet"))
    assert caplog.messages == [SAID]
    header = CacheHeader.read(tmp_path / "a.fdet")
    assert header.key.bits == 12
    assert json.loads((tmp_path / "a.fdet" / "fdet.json").read_text())["key"]["bits"] == 12
    recipe = recipe_of(header.key, deep.parent / "images")
    canvases = [render(recipe, image, (0,)).pixels for image in header.layout.images]
    assert max(pixels.max() for pixels in canvases) > 240


def test_whoever_continues_the_cache_does_not_look_again(
    twelve, deep, tmp_path, monkeypatch, caplog
):
    begun = tmp_path / "a.fdet"
    shutil.copytree(twelve, begun)
    (begun / "manifest.json").unlink()
    shards = sorted((begun / "commits").glob("*.json"))
    shards[-1].unlink()
    monkeypatch.setattr(creation, "find_bits", None)
    extract(quick(deep, begun))
    assert caplog.messages == []
    assert tree(begun) == tree(twelve)


def test_a_cache_from_before_keeps_its_meaning(sixteen, deep, tmp_path, monkeypatch):
    """It names no bits, and is continued as it was begun."""
    assert b'"bits"' not in (sixteen / "fdet.json").read_bytes()
    begun = tmp_path / "a.fdet"
    shutil.copytree(sixteen, begun)
    (begun / "manifest.json").unlink()
    for record in (begun / "commits").glob("*.json"):
        record.unlink()
    monkeypatch.setattr(creation, "find_bits", None)
    extract(quick(deep, begun))
    assert tree(begun) == tree(sixteen)
    recipe = recipe_of(CacheHeader.read(begun).key, deep.parent / "images")
    image = CacheHeader.read(begun).layout.images[0]
    upright, _ = load_image(deep.parent / "images" / image.file_name)
    assert np.asarray(upright).max() == round(HIGH / 257)
    assert render(recipe, image, (0,)).pixels.max() <= round(HIGH / 257)


def test_other_bits_than_those_of_the_cache_are_refused(twelve, deep):
    with pytest.raises(KeyMismatch, match="bits: 14 here, 12 there"):
        extract(quick(deep, twelve, bits=14))


@pytest.mark.parametrize("option", ["update", "calibration"])
def test_what_is_taken_from_a_cache_is_read_like_it(option, deep, tmp_path, monkeypatch):
    options = {"codec": "int5", "bits": 14}
    extract(quick(deep, tmp_path / "a.fdet", **options))
    monkeypatch.setattr(creation, "find_bits", None)
    extract(quick(deep, tmp_path / "b.fdet", codec="int5", **{option: tmp_path / "a.fdet"}))
    assert bits_of(tmp_path / "b.fdet") == 14


def test_a_pixel_beyond_the_bits_fails_its_image(deep, tmp_path):
    summary = extract(quick(deep, tmp_path / "a.fdet", bits=10))
    assert len(summary.failed) == 6
    expected = "its pixels reach 0..4031, expected 0..1023 (10 bits; see --bits)"
    assert set(summary.failed.values()) == {expected}
    with pytest.raises(
        InputError,
        match=r"could be read to calibrate the codec \(10\.png: its pixels reach 0\.\.4031, exp",
    ):
        extract(quick(deep, tmp_path / "b.fdet", bits=10, codec="int5"))


@pytest.mark.parametrize("bits", [7, 32])
def test_bits_that_no_pixels_have_are_refused(bits, deep, tmp_path):
    with pytest.raises(InputError, match=f"--bits: expected 8 to 31, got {bits}"):
        extract(quick(deep, tmp_path / "a.fdet", bits=bits))


def test_a_data_set_without_deep_images_has_no_bits(dataset, whole):
    assert bits_of(whole) == 0


def test_caches_of_other_bits_are_not_read_together(twelve, sixteen):
    first, second = FeatureCache.open(twelve), FeatureCache.open(sixteen)
    with pytest.raises(KeyMismatch, match=r"read as 12 bits for .*, as 16 for .*the same --bits"):
        PairedCache(first, second)


def test_prediction_and_the_backbone_in_the_loop_read_as_the_cache_does(
    twelve, sixteen, deep, tmp_path
):
    settings = ["neck.min_level=1", "neck.max_level=3", "neck.channels=8", "train.epochs=1"]
    config = load_config(assignments=[*settings, "head.score_threshold=0.001"])
    images = deep.parent / "images"
    train(config, TrainOptions(cache=twelve, out=tmp_path / "run", threads=1))
    assert RunInfo.read(tmp_path / "run").key.bits == 12
    _, expected = evaluate_run(tmp_path / "run", twelve)
    predict(
        tmp_path / "run",
        [images],
        tmp_path / "found",
        PredictOptions(annotations=deep, recursive=True),
    )
    found = json.loads((tmp_path / "found" / "detections.json").read_text())
    # Batches of another size change the last bits.
    np.testing.assert_allclose(_scores(found), _scores(expected), atol=1e-5)
    assert len(found) > 10
    with pytest.raises(KeyMismatch, match="bits: 12 here, 16 there"):
        evaluate_run(tmp_path / "run", sixteen)
    # Online training takes its steps on the same pixels.
    live = replace(config, train=replace(config.train, epochs=1))
    options = TrainOptions(
        cache=twelve, out=tmp_path / "live", threads=1, source="online", images=images
    )
    train(live, options)
    weights = [(tmp_path / name / "last.safetensors").read_bytes() for name in ("run", "live")]
    assert _tensors(weights[0]) == _tensors(weights[1])


def _scores(results):
    return [score for _, score in sorted((r["image_id"], r["score"]) for r in results)]


def _tensors(raw):
    """The bytes of the tensors in a safetensors file, without the header that describes them."""
    return raw[8 + int.from_bytes(raw[:8], "little") :]
