"""A good cache is equivalent to its backbone; a wrong one is found, and what is wrong has a name."""

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from fdet.cache.codecs.calibration import calibration_digest
from fdet.cache.codecs.codec import codec_files
from fdet.cache.codecs.form import NUMBERS
from fdet.cache.errors import InputError
from fdet.cache.format.annotation_copy import read_annotations
from fdet.cache.reader import FeatureCache
from fdet.cache.stores import STORES
from fdet.cache.writer import create_cache, seal, shard_writer
from fdet.pipeline.backbones.frozen import FrozenBackbone
from fdet.pipeline.backbones.loading import load_backbone
from fdet.pipeline.cli import app
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.equivalence.check import check_equivalence
from fdet.pipeline.tools.equivalence.checks import steps_config
from fdet.pipeline.tools.equivalence.expectation import ALLOWANCES
from fdet.pipeline.tools.equivalence.options import EquivalenceOptions
from fdet.pipeline.tools.equivalence.passes import sampled_passes
from fdet.pipeline.tools.upkeep.convert import Conversion, convert
from fdet.pipeline.training.step import Stepper

from ....generated import make_dataset
from ...quick import quick

CODECS = (*NUMBERS, "fp32+pca", "bf16+pca8", "int8+pca", "int4+pca")
TINY = ("neck.channels=8", "neck.max_level=3", "train.batch_size=2")


def small_set(folder):
    """Six images, of which one file is none; canvases of two shapes."""
    data = make_dataset(folder, images=6)
    (folder / "images" / "24.png").write_bytes(b"no image")
    return data


def made(data, out, **changes):
    extract(quick(data, out, **{"size": None, "short": 32, "long": 64, **changes}))
    return out


def fdet(cache, images, *words):
    sets = [word for setting in TINY for word in ("--set", setting)]
    words = ["check-equivalence", cache, "--images", images, "--steps", 1, *sets, *words]
    return CliRunner().invoke(app, [str(word) for word in words])


def checked(cache, images, **options):
    config = steps_config(cache, None, TINY)
    return check_equivalence(
        cache, config, EquivalenceOptions(images=images, **{"steps": 1, **options})
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def images(data):
    return data.parent / "images"


@pytest.fixture(scope="module")
def good(data, tmp_path_factory):
    """fp32, one sample a pass; read only."""
    return made(data, tmp_path_factory.mktemp("good") / "c.fdet")


def altered(cache, out, change, key=None, codec=None):
    """A sound cache that holds what `change` makes of (image id, view, level, map).

    key, codec: others than the cache's own, and the files of its codec.
    """
    old = FeatureCache.open(cache)
    planned = replace(old.header, key=key or old.header.key, other_files={})
    files = codec or codec_files(cache, old.header.key)
    header = create_cache(out, planned, read_annotations(cache, old.header), files)
    names = header.key.levels.names
    for shard in header.layout.shards:
        with shard_writer(out, header, shard) as writer:
            for image_id, view in header.layout.samples(shard):
                entry, maps = old.entry(image_id, view), []
                if entry.ok:
                    maps = [x.copy() for x in old.sample(image_id, view).stored]
                    for level, x in zip(names, maps, strict=True):
                        change(image_id, view, level, x)
                writer.add(entry, maps)
    seal(out, header)
    return out


def one_value(amount, image_id=31, view=1, level="c2"):
    """Moves one value of one map by `amount` of the map's largest; None: to the next number."""

    def change(*sample_and_map):
        *sample, x = sample_and_map
        if sample == [image_id, view, level]:
            largest = np.unravel_index(np.abs(x).argmax(), x.shape)
            before = x[largest]
            if amount is None:
                x[largest] = np.nextafter(before, x.dtype.type(np.inf))
            else:
                x[largest] = before * x.dtype.type(1 + amount)

    return change


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize(
    ("store", "codec"),
    [*(("zarr", codec) for codec in CODECS), *(("hdf5", codec) for codec in ("fp32", "int5"))],
)
def test_a_good_cache_is_equivalent(store, codec, batch_size, data, images, tmp_path):
    cache = made(data, tmp_path / "c", store=store, codec=codec, batch_size=batch_size)
    found = checked(cache, images, steps=2)
    assert found.equivalent and found.expected.exact
    assert (found.samples, found.images) == (10, 5), "all but the failed image"
    for level in found.levels:
        assert level.samples == 10
        assert level.same_bits == level.values > 0
        assert level.of_bound <= 1
        assert (level.absolute == 0) == (codec == "fp32")
    assert found.training.expected.exact == (batch_size == 1)
    through, raw = found.training.training_distance, found.training.raw
    # Passes of four differ from those of a training batch of two in the last bits.
    assert through.exact or batch_size == 4
    assert through.loss < 1e-6 and through.weights < 1e-5
    # fp32+pca rounds, too little to be told from passes of another size.
    if codec != "fp32+pca":
        assert (raw.weights > 10 * through.weights) == (codec != "fp32")
    if codec in ("fp32", "fp16"):
        assert raw.loss < 1e-3 and raw.weights < 0.02


CHAINS = [("fp16", "int5"), ("fp32", "fp16", "int4+pca"), ("fp32", "bf16"), ("fp32", "int8+pca8")]


@pytest.fixture(scope="module")
def converted(data, tmp_path_factory):
    """Makes a cache by an extraction in the first codec, and a conversion to each further one."""
    folder = tmp_path_factory.mktemp("converted")

    def make(first, *further):
        source = folder / first
        if not source.exists():
            made(data, source, codec=first)
        for codec in further:
            out = folder / f"{source.name}-{codec}"
            convert(source, out, Conversion(codec=codec))
            source = out
        return source

    return make


@pytest.mark.parametrize("chain", CHAINS, ids="-".join)
def test_a_converted_cache_is_its_backbones_through_every_codec(chain, converted, images):
    found = checked(converted(*chain), images, steps=2)
    assert found.equivalent and found.expected.exact
    assert all(level.same_bits == level.values > 0 for level in found.levels)
    assert all(0 < level.of_bound <= 1 for level in found.levels)
    assert checked(converted(*chain), images, elsewhere=True).equivalent
    told = fdet(converted(*chain), images).stdout.splitlines()[2]
    assert told.startswith(f"bound: {chain[-1]} keeps a ")
    assert told.endswith(f", as {' and '.join(chain[:-1])} gave it")


@pytest.mark.parametrize("chain", [("fp32", "int8", "int5"), ("fp32", "bf16+pca", "int8+pca")])
def test_what_came_from_scales_that_are_gone_is_refused(chain, converted, images):
    cache = converted(*chain)
    result = fdet(cache, images)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.strip().splitlines()
    assert f"converted from fp32 and {chain[1]}, whose scales it does not have" in line


def test_one_code_that_is_off_by_one_is_found_and_named(data, images, tmp_path):
    cache = made(data, tmp_path / "c", codec="int8")

    def change(image_id, view, level, x):
        if (image_id, view, level) == (31, 1, "c2"):
            x[0, 1, 1] += 1

    found = checked(altered(cache, tmp_path / "wrong", change), images)
    (failure,) = [line for line in found.failures if not line.startswith("training")]
    assert failure.startswith("image sub/31.png (id 31), view hflip, level c2: 1 of ")
    step = np.load(cache / "codec" / "c2" / "step.npy")[0]
    assert failure.endswith(f"have other bits, by up to {step:.3g}")


def test_other_scales_than_those_of_the_codes_are_found(data, images, tmp_path):
    """Sound files, but of another calibration: every code is then wrong by the bits and the bound."""
    extract(quick(data, tmp_path / "one", size=None, short=32, long=64, codec="int5", limit=1))
    other = codec_files(tmp_path / "one", FeatureCache.open(tmp_path / "one").header.key)
    good = made(data, tmp_path / "good", codec="int5")
    key = replace(FeatureCache.open(good).header.key, calibration=calibration_digest(other))
    wrong = altered(good, tmp_path / "wrong", lambda *_: None, key=key, codec=other)
    for elsewhere in (False, True):
        found = checked(wrong, images, elsewhere=elsewhere)
        assert not found.equivalent
        assert any(" beyond the bound" in f or " other bits" in f for f in found.failures)


def test_the_report_says_what_was_looked_at_expected_and_found(good, images):
    result = fdet(good, images)
    assert result.exit_code == 0
    first, expected, bound, head, c1, c2, training, *rest = result.stdout.splitlines()
    assert first == "10 samples of 5 images in 2 shards, 1 a pass"
    assert (expected, bound) == ("features: expected bit for bit", "bound: fp32 keeps every bit")
    assert head.split("  ")[0] == "level"
    assert [line.split() for line in (c1, c2)] == [
        ["c1", "10", "all", "0", "0", "0"],
        ["c2", "10", "all", "0", "0", "0"],
    ]
    assert training == (
        "training: 1 step of fpn + tal, batches of 2, cached against live: expected bit for bit"
    )
    assert rest == [
        "live features through the codec: the same bits",
        "live features as they are: the same bits",
        "equivalent",
    ]


def test_the_passes_are_those_of_the_extraction(data, images, tmp_path, monkeypatch):
    """The failed image among them, and the last ones of each shard."""
    seen = []
    forward = FrozenBackbone.forward

    def noting(backbone, canvases, content_hw):
        seen.append((len(canvases), hashlib.sha256(canvases.numpy().tobytes()).hexdigest()))
        return forward(backbone, canvases, content_hw)

    monkeypatch.setattr(FrozenBackbone, "forward", noting)
    cache = made(data, tmp_path / "c", batch_size=4)
    extracted = set(seen)
    seen.clear()
    monkeypatch.setattr("fdet.pipeline.tools.equivalence.check._check_training", lambda *a: None)
    monkeypatch.setattr("fdet.pipeline.tools.equivalence.check._training_failures", lambda *a: [])
    checked(cache, images)
    # 8 samples of square canvases, 4 of wide ones.
    assert [count for count, _ in seen] == [4, 4, 4]
    assert set(seen) <= extracted
    assert len(set(seen)) == 3


def test_the_steps_are_those_of_training_and_move_the_weights(good, images, monkeypatch):
    taken = []
    step = Stepper.step

    def noting(stepper, batches, size, number, total):
        before = [p.clone() for p in stepper.model.parameters()]
        done = step(stepper, batches, size, number, total)
        moved = any(
            not torch.equal(a, b) for a, b in zip(before, stepper.model.parameters(), strict=True)
        )
        taken.append((number, total, done.images, moved))
        return done

    monkeypatch.setattr(Stepper, "step", noting)
    training = checked(good, images, steps=3).training
    one_run = taken[:3]
    assert taken == one_run * 3, "cached, live through the codec, live"
    assert [(number, total) for number, total, *_ in one_run] == [(0, 3), (1, 3), (2, 3)]
    assert all(seen > 0 and moved for *_, seen, moved in one_run)
    assert (training.steps, training.batch_size, training.detector) == (3, 2, "fpn + tal")


@pytest.mark.parametrize("store", STORES)
def test_one_altered_bit_is_found_and_named(store, data, images, tmp_path):
    cache = made(data, tmp_path / "c", store=store)
    wrong = altered(cache, tmp_path / "wrong", one_value(None))
    result = fdet(wrong, images)
    assert result.exit_code == 1
    failed = [line for line in result.stdout.splitlines() if line.startswith("failed: ")]
    start = "failed: image sub/31.png (id 31), view hflip, level c2: 1 of "
    assert failed[0].startswith(start) and "have other bits, by up to" in failed[0]
    assert result.stdout.splitlines()[-1].startswith("not equivalent: ")
    c1, c2 = checked(wrong, images).levels
    assert (c1.same_bits - c1.values, c2.same_bits - c2.values) == (0, -1)


def test_the_bits_of_a_half_precision_cache_are_compared_as_stored(data, images, tmp_path):
    """fp16's next number is within its stated error or just beyond it, and wrong in any case."""
    cache = made(data, tmp_path / "c", codec="fp16")
    wrong = altered(cache, tmp_path / "wrong", one_value(None))
    found = checked(wrong, images)
    (failure,) = [line for line in found.failures if not line.startswith("training")]
    assert "level c2: 1 of" in failure and "other bits" in failure


def test_made_elsewhere_asks_for_the_bound_and_no_more(data, good, images, tmp_path):
    near = altered(good, tmp_path / "near", one_value(None))
    assert fdet(near, images).exit_code == 1
    result = fdet(near, images, "--elsewhere")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "equivalent")
    assert "expected within the bound (made elsewhere)" in result.stdout
    allowance = ALLOWANCES["fp32"].features
    inside = altered(good, tmp_path / "inside", one_value(0.9 * allowance))
    found = checked(inside, images, elsewhere=True)
    assert found.equivalent
    assert found.levels[1].of_bound == pytest.approx(0.9, rel=1e-2)
    assert found.levels[1].relative == pytest.approx(0.9 * allowance, rel=1e-2)
    far = altered(good, tmp_path / "far", one_value(3 * allowance))
    found = checked(far, images, elsewhere=True)
    (failure,) = found.failures
    assert failure.startswith("image sub/31.png (id 31), view hflip, level c2: 1 of ")
    assert failure.endswith("values are beyond the bound, by up to 3 times")


def test_the_bound_of_a_half_precision_cache_is_the_codecs_and_the_allowance(
    data, images, tmp_path
):
    cache = made(data, tmp_path / "c", codec="fp16")
    found = checked(cache, images, elsewhere=True)
    assert found.equivalent
    expected = 2.0**-11 / (2.0**-11 + ALLOWANCES["fp32"].features)
    assert 0.8 * expected < max(level.of_bound for level in found.levels) < 1
    far = altered(cache, tmp_path / "far", one_value(2.0**-9))
    (failure,) = checked(far, images, elsewhere=True).failures
    assert "level c2: 1 of " in failure and "beyond the bound" in failure


def test_a_map_that_is_wrong_everywhere_is_found_where_no_value_is_beyond_its_bound(
    data, images, tmp_path
):
    """bf16 allows a value half of its map's largest: another image's map lies within that."""
    cache = made(data, tmp_path / "c", precision="bf16")
    assert checked(cache, images, elsewhere=True).equivalent

    def change(image_id, view, level, x):
        if (image_id, view, level) == (31, 1, "c2"):
            rng = np.random.default_rng(0)
            x += np.abs(x).max() * rng.uniform(-0.4, 0.4, x.shape).astype(x.dtype)

    found = checked(altered(cache, tmp_path / "wrong", change), images, elsewhere=True)
    failures = [line for line in found.failures if not line.startswith("training")]
    assert len(failures) == 1 and "the map as a whole is beyond its bound" in failures[0]
    assert found.levels[1].of_bound < 1


def test_another_number_of_threads_gives_the_bound_instead_of_equal_bits(good, images):
    before = torch.get_num_threads()
    try:
        found = checked(good, images, threads=2, samples=1)
    finally:
        torch.set_num_threads(before)
    assert found.equivalent
    assert found.expected.reasons == ("threads: 2 here, 1 there",)
    assert found.training.expected.reasons == found.expected.reasons


def test_other_libraries_give_the_bound_too(good, images, monkeypatch):
    here = {"threads": 1, "device": "cpu", "timm": "0.0.1"}
    monkeypatch.setattr(
        "fdet.pipeline.tools.equivalence.expectation.environment", lambda device: here
    )
    (reason,) = checked(good, images, steps=1).expected.reasons
    assert reason.startswith("timm: 0.0.1 here, ")


def test_training_alone_finds_what_the_sampled_features_do_not_show(good, images, tmp_path):
    """One sample is drawn; training takes the other view of its image too, and that one is wrong."""
    header = FeatureCache.open(good).header
    (((_, drawn),),) = sampled_passes(header, (), 1, seed=0)
    rng = np.random.default_rng(0)

    def change(image_id, view, level, x):
        if view != drawn:
            x[:] = 10 * x.std() * rng.standard_normal(x.shape)

    wrong = altered(good, tmp_path / "wrong", change)
    for elsewhere, said in ((False, "not the same bits"), (True, "beyond the bound")):
        found = checked(wrong, images, samples=1, steps=6, elsewhere=elsewhere)
        assert [level.of_bound for level in found.levels] == [0, 0]
        (failure,) = found.failures
        assert failure.startswith(f"training: {said}; losses "), found.training


@pytest.fixture
def own(tmp_path):
    """A data set whose files may be changed, and its cache."""
    data = small_set(tmp_path / "own")
    return data.parent / "images", made(data, tmp_path / "own.fdet", batch_size=4)


def other_picture(path, size=None):
    with Image.open(path) as image:
        Image.new("RGB", size or image.size, (10, 200, 30)).save(path)


@pytest.mark.parametrize("size", [None, (50, 60)])
def test_a_changed_image_file_is_named_and_its_neighbours_are_still_compared(size, own):
    images, cache = own
    other_picture(images / "sub" / "31.png", size)
    result = fdet(cache, images)
    assert result.exit_code == 1
    (failed,) = [line for line in result.stdout.splitlines() if line.startswith("failed: ")]
    start = "failed: image sub/31.png (id 31): the file is not the one that was extracted (sha256 "
    assert failed.startswith(start)
    found = checked(cache, images)
    assert found.training.training_distance.weights < 1e-5
    assert [level.samples for level in found.levels] == [8, 8]
    assert all(level.same_bits == level.values for level in found.levels)


def test_a_missing_image_file_is_named(own):
    images, cache = own
    (images / "10.png").unlink()
    (failure,) = checked(cache, images).failures
    assert failure.startswith("image 10.png (id 10): the file is not")
    assert failure.endswith("(unreadable)")


def test_nothing_is_trained_where_every_file_has_changed(own):
    images, cache = own
    for path in images.rglob("*.png"):
        if path.name != "24.png":
            other_picture(path)
    result = fdet(cache, images)
    assert result.exit_code == 1
    assert result.stdout.count("the file is not the one") == 5
    assert "training" not in result.stdout


def test_an_image_that_failed_at_extraction_and_is_there_now_is_no_failure(own):
    images, cache = own
    shutil.copy(images / "10.png", images / "24.png")
    assert checked(cache, images).equivalent


def test_another_folder_is_bad_input(good, tmp_path):
    for folder, said in ((tmp_path, "none of the 5 sampled images"), (tmp_path / "no", "no such")):
        result = fdet(good, folder)
        assert (result.exit_code, result.stdout) == (2, "")
        assert said in result.stderr


def test_other_weights_are_bad_input(good, images, tmp_path):
    other = load_backbone("test_resnet", weights="random", seed=5)
    save_file(other.taps.model.state_dict(), tmp_path / "w.safetensors")
    result = fdet(good, images, "--weights", tmp_path / "w.safetensors")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "are not those of the cache" in result.stderr


def test_an_unfinished_cache_is_refused(good, images, tmp_path):
    cache = shutil.copytree(good, tmp_path / "c")
    (cache / "manifest.json").unlink()
    result = fdet(cache, images)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "run the same command again to finish it" in result.stderr


@pytest.mark.parametrize("option", ["--samples", "--steps"])
def test_none_of_something_is_refused(option, good, images):
    result = fdet(good, images, option, 0)
    assert result.exit_code == 2
    assert f"{option}: expected at least 1, got 0" in result.stderr


def test_a_file_of_settings_is_taken_as_it_is(good, images, tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("[neck]\nmin_level = 2\nmax_level = 3\nchannels = 8\n[train]\nbatch_size = 3\n")
    result = CliRunner().invoke(
        app,
        [
            *("check-equivalence", str(good), "--images", str(images), "--samples", "2"),
            *("--steps", "1", "--config", str(file), "--set", "head.name=faster-rcnn"),
        ],
    )
    assert result.exit_code == 0, result.output
    assert "1 step of fpn + faster-rcnn, batches of 3" in result.stdout


def test_adapters_are_refused(good):
    with pytest.raises(InputError, match=r"backbone\.adapters: cached maps have not passed"):
        steps_config(good, None, ["backbone.adapters=true"])
