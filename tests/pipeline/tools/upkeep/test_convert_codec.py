"""`fdet cache convert --codec`: a coarser codec without the backbone, and what cannot be made that way."""

import re
import shutil
import signal

import numpy as np
import pytest
from typer.testing import CliRunner

from fdet.cache.codecs.codec import codec_of
from fdet.cache.errors import CorruptCache, FeatureError, InputError, KeyMismatch
from fdet.cache.format.header import CacheHeader
from fdet.cache.loader import load_batch
from fdet.cache.reader import FeatureCache
from fdet.cache.verify import verify
from fdet.pipeline.backbones.frozen import FrozenBackbone
from fdet.pipeline.cli import app
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.upkeep.convert import Conversion, convert

from ....generated import make_dataset
from ...command_server import Moment
from ...quick import command, damage, flip_bit, quick, records, tree

CODECS = ["fp16", "bf16", "int8", "int5", "int4+pca", "bf16+pca8"]


def learnt(root):
    return {name: raw for name, raw in tree(root).items() if name.startswith("codec/")}


def key_of(root):
    return CacheHeader.read(root).key


def assert_same_samples(one, other):
    """The same frames and entries of every image and view."""
    mine, theirs = FeatureCache.open(one), FeatureCache.open(other)
    assert mine.image_ids == theirs.image_ids and mine.failed == theirs.failed
    for image_id in mine.image_ids:
        for view in range(len(mine.header.layout.views)):
            (entry, frames), (expected, others) = (c.stored(image_id, view) for c in (mine, theirs))
            assert frames == others
            assert (entry.placement, entry.sha256) == (expected.placement, expected.sha256)


@pytest.fixture(scope="module")
def direct(dataset, tmp_path_factory):
    """By codec, straight from the images; read only."""
    folder = tmp_path_factory.mktemp("direct")
    for codec in CODECS:
        extract(quick(dataset, folder / codec, codec=codec))
    return {codec: folder / codec for codec in CODECS}


@pytest.fixture(scope="module")
def int5(quick_caches, tmp_path_factory):
    """Converted from fp32, in the same store; read only."""
    out = tmp_path_factory.mktemp("converted") / "int5"
    convert(quick_caches["zarr"], out, Conversion(codec="int5"))
    return out


@pytest.mark.parametrize("codec", CODECS)
def test_of_exact_maps_it_gives_the_codes_of_an_extraction(codec, direct, whole, tmp_path, passes):
    before = tree(whole)
    samples, size = convert(whole, tmp_path / "c", Conversion(codec=codec))
    assert_same_samples(tmp_path / "c", direct[codec])
    assert learnt(tmp_path / "c") == learnt(direct[codec])
    assert (samples, passes["samples"]) == (24, 0)
    assert size == FeatureCache.open(tmp_path / "c").manifest.stored_bytes
    assert verify(tmp_path / "c").sound
    key = key_of(tmp_path / "c")
    assert (key.codec, key.converted) == (codec, ("fp32",))
    assert key.calibration == key_of(direct[codec]).calibration
    assert tree(whole) == before


def test_with_anothers_calibration_it_is_its_codec(dataset, quick_caches, tmp_path):
    extract(quick(dataset, tmp_path / "a", codec="int5", limit=3))
    wanted = Conversion(codec="int5", calibration=tmp_path / "a")
    convert(quick_caches["zarr"], tmp_path / "c", wanted)
    assert learnt(tmp_path / "c") == learnt(tmp_path / "a")
    extract(quick(dataset, tmp_path / "direct", codec="int5", calibration=tmp_path / "a"))
    assert_same_samples(tmp_path / "c", tmp_path / "direct")


def test_as_many_images_are_looked_at_as_one_says(dataset, quick_caches, int5, tmp_path):
    convert(quick_caches["zarr"], tmp_path / "c", Conversion(codec="int5", calibration_images=2))
    assert learnt(tmp_path / "c") != learnt(int5)
    extract(quick(dataset, tmp_path / "direct", codec="int5", calibration_images=2))
    assert learnt(tmp_path / "c") == learnt(tmp_path / "direct")


def test_store_and_codec_at_once_are_one_after_the_other(quick_caches, int5, tmp_path):
    convert(quick_caches["zarr"], tmp_path / "both", Conversion(store="hdf5", codec="int5"))
    convert(int5, tmp_path / "then", Conversion(store="hdf5"))
    assert tree(tmp_path / "both") == tree(tmp_path / "then")
    convert(tmp_path / "both", tmp_path / "back", Conversion(store="zarr"))
    assert tree(tmp_path / "back") == tree(int5), "codes go from store to store as they are"


def test_what_it_went_through_is_kept_in_order(quick_caches, tmp_path):
    steps = ["fp16", "int5", "int4+pca"]
    source = quick_caches["zarr"]
    for codec in steps:
        convert(source, tmp_path / codec, Conversion(codec=codec))
        source = tmp_path / codec
    assert key_of(source).converted == ("fp32", "fp16", "int5")
    result = CliRunner().invoke(app, ["cache", "info", str(source)])
    assert re.search(r"^codec +int4\+pca <- int5 <- fp16 <- fp32$", result.stdout, re.MULTILINE)


def test_values_are_those_of_the_source_through_the_new_codec(int5, tmp_path):
    convert(int5, tmp_path / "c", Conversion(codec="int4+pca"))
    before, after = FeatureCache.open(int5), FeatureCache.open(tmp_path / "c")
    sample = [(10, 1)]
    old, new = (codec_of(c.root, c.header.key) for c in (before, after))
    wanted = new.encode(load_batch(before, sample).decode(old, "cpu"))
    for x, y in zip(wanted, load_batch(after, sample).maps, strict=True):
        assert np.array_equal(x, y)


@pytest.mark.parametrize("codec", ["int5", "fp16"])
def test_failed_images_stay_failed(codec, store, tmp_path):
    data = make_dataset(tmp_path / "data")
    for name in ("10.png", "sub/31.png"):
        (tmp_path / "data" / "images" / name).write_bytes(b"no image")
    extract(quick(data, tmp_path / "a", store=store))
    convert(tmp_path / "a", tmp_path / "b", Conversion(codec=codec))
    found = FeatureCache.open(tmp_path / "b")
    assert found.failed == dict.fromkeys((10, 31), "not an image that can be read")
    assert len(found) == 10 and verify(tmp_path / "b").sound


def test_where_every_image_failed_there_is_nothing_to_learn_from(tmp_path):
    data = make_dataset(tmp_path / "data", images=2)
    for path in (tmp_path / "data" / "images").rglob("*.png"):
        path.write_bytes(b"no image")
    extract(quick(data, tmp_path / "a"))
    with pytest.raises(InputError, match="every image failed, so no codec can be calibrated"):
        convert(tmp_path / "a", tmp_path / "b", Conversion(codec="int5"))
    assert not (tmp_path / "b" / "fdet.json").exists()


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("fp16", "fp32"),
        ("int5", "int8"),
        ("int5", "fp16"),
        ("int4+pca", "int5"),
        ("bf16+pca8", "bf16"),
        ("bf16+pca8", "bf16+pca9"),
        ("bf16+pca8", "int5"),
        ("int5", "bf16+pca8"),
    ],
)
def test_a_finer_codec_is_refused(there, wanted, direct, tmp_path):
    with pytest.raises(InputError, match=f"has {re.escape(there)}, whose losses cannot be undone"):
        convert(direct[there], tmp_path / "c", Conversion(codec=wanted))
    assert not (tmp_path / "c").exists()


def test_scales_that_nothing_would_take_are_refused(direct, quick_caches, tmp_path):
    for wanted in (
        Conversion(codec="int5", calibration=direct["int8"]),
        Conversion(store="hdf5", calibration=direct["int8"]),
    ):
        with pytest.raises(InputError, match="is int5 already, and its codes stay as they are"):
            convert(direct["int5"], tmp_path / "c", wanted)
    for codec, said in (("fp16", "codec fp16 has no scales"), ("int5", "int5 here, int8 there")):
        wanted = Conversion(codec=codec, calibration=direct["int8"])
        with pytest.raises((InputError, KeyMismatch), match=said):
            convert(quick_caches["zarr"], tmp_path / "c", wanted)
    assert not (tmp_path / "c" / "fdet.json").exists()


def test_a_value_beyond_the_new_codec_is_named(dataset, tmp_path, monkeypatch):
    forward = FrozenBackbone.forward

    def spoilt(backbone, canvases, content_hw):
        pyramid = forward(backbone, canvases, content_hw)
        pyramid.maps[1][:, 3, 2, 2] = 70000.0
        return pyramid

    monkeypatch.setattr(FrozenBackbone, "forward", spoilt)
    extract(quick(dataset, tmp_path / "a", limit=1))
    said = r"^image 10\.png \(id 10\), view 0, level c2: \|value\| reaches 7e\+04, codec fp16"
    with pytest.raises(FeatureError, match=said):
        convert(tmp_path / "a", tmp_path / "c", Conversion(codec="fp16"))
    convert(tmp_path / "a", tmp_path / "d", Conversion(codec="bf16"))


def test_a_damaged_sample_stops_it_and_a_damaged_scale_too(int5, quick_caches, tmp_path):
    source = shutil.copytree(quick_caches["zarr"], tmp_path / "a")
    damage(source, FeatureCache.open(source).header.layout.shards[2].images[1].id)
    with pytest.raises(CorruptCache, match="shard 64x64-2"):
        convert(source, tmp_path / "c", Conversion(codec="int5", calibration=int5))
    coded = shutil.copytree(int5, tmp_path / "b")
    flip_bit(coded / "codec" / "c1" / "step.npy", -1)
    with pytest.raises(CorruptCache, match="its files are not those that the key names"):
        convert(coded, tmp_path / "d", Conversion(codec="int4"))
    with pytest.raises(CorruptCache, match="its files are not those that the key names"):
        convert(coded, tmp_path / "d", Conversion(store="hdf5"))
    assert not (tmp_path / "d" / "fdet.json").exists()


def test_another_conversion_in_the_folder_is_refused(quick_caches, int5, direct, tmp_path):
    for name, there in (("a", int5), ("b", direct["int5"]), ("c", direct["fp16"])):
        out = shutil.copytree(there, tmp_path / name)
        with pytest.raises(KeyMismatch, match="holds another cache"):
            convert(quick_caches["zarr"], out, Conversion(codec="int6"))
        assert tree(out) == tree(there)


def test_what_is_calibrated_already_is_not_calibrated_again(quick_caches, int5, tmp_path):
    out = shutil.copytree(int5, tmp_path / "c")
    wanted = Conversion(codec="int5", calibration_images=3)
    assert convert(quick_caches["zarr"], out, wanted)[0] == 24
    assert tree(out) == tree(int5)


def test_extract_does_not_go_on_with_what_was_converted(int5, dataset, tmp_path):
    out = shutil.copytree(int5, tmp_path / "c")
    words = command(dataset, out, codec="int5")
    for unfinished in (False, True):
        if unfinished:
            (out / "manifest.json").unlink()
            (out / "commits" / "64x64-3.json").unlink()
        before = tree(out)
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 2
        (line,) = result.stderr.strip().splitlines()
        assert f"{out} was converted from fp32" in line and "`fdet cache convert`" in line
        assert tree(out) == before


def test_extract_does_not_take_over_what_was_converted(int5, dataset, tmp_path):
    with pytest.raises(KeyMismatch, match=r"converted: \(\) here, \('fp32',\) there"):
        extract(quick(dataset, tmp_path / "c", codec="int5", update=int5))


MOMENTS = {
    "the header stands": (Moment("os.remove", r"/\.fdet\.json\.scratch$"), 0),
    "between two of the codec's files": (Moment("os.link", r"/codec/", 3), 0),
    "before the third record": (Moment("os.link", r"/commits/.*\.json$", 3), 2),
    "before the manifest": (Moment("os.link", r"/manifest\.json$"), 4),
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_repeated_it_ends_with_the_same_bytes(
    moment, commands, quick_caches, int5, tmp_path
):
    words = ["cache", "convert", quick_caches["zarr"], tmp_path / "c", "--codec", "int5"]
    kill, finished = MOMENTS[moment]
    assert commands.run(words, kill) == -signal.SIGKILL
    assert len(records(tmp_path / "c")) == finished
    assert commands.run(words) == 0
    assert tree(tmp_path / "c") == tree(int5)
