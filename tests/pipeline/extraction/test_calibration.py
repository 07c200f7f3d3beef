"""A codec that learns: once, from images spread over the data set; or from another cache."""

import shutil
import signal

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fdet.cache.codecs.calibration import calibration_digest
from fdet.cache.codecs.codec import codec_of
from fdet.cache.errors import CorruptCache, FeatureError, InputError, KeyMismatch
from fdet.cache.format.header import CacheHeader
from fdet.cache.loader import load_batch
from fdet.cache.placement import Placement
from fdet.cache.reader import FeatureCache
from fdet.cache.verify import verify
from fdet.pipeline.backbones.frozen import FrozenBackbone
from fdet.pipeline.cli import app
from fdet.pipeline.extraction.calibration import evenly, some_blocks, some_cells
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.upkeep.rm import remove_cache, remove_damaged

from ...generated import make_dataset
from ..command_server import Moment
from ..quick import command, damage, flip_bit, quick, records, tree

CODECS = ["int5", "int4+pca", "bf16+pca", "int6+pca8"]
SAMPLES, IMAGES = 24, 12
# Of int5, in four shards.
LARGE = {"codec": "int5", "size": 128}


def learnt(root):
    """The codec's files, by path."""
    return {name: raw for name, raw in tree(root).items() if name.startswith("codec/")}


def key_of(root):
    return CacheHeader.read(root).key


@pytest.fixture(scope="module")
def coded(dataset, tmp_path_factory):
    """By codec; read only."""
    folder = tmp_path_factory.mktemp("coded")
    for codec in CODECS:
        extract(quick(dataset, folder / codec, codec=codec))
    return {codec: folder / codec for codec in CODECS}


@pytest.mark.parametrize("codec", CODECS)
def test_it_is_calibrated_once_and_the_bytes_are_the_same_each_time(
    codec, coded, dataset, tmp_path, passes
):
    config = quick(dataset, tmp_path / "c", codec=codec)
    assert extract(config).written == SAMPLES
    assert passes["samples"] == IMAGES + SAMPLES
    assert extract(config).written == 0
    assert passes["samples"] == IMAGES + SAMPLES
    assert tree(tmp_path / "c") == tree(coded[codec])
    assert verify(tmp_path / "c").sound
    assert key_of(tmp_path / "c").calibration == calibration_digest(learnt(tmp_path / "c")) != ""


@pytest.mark.parametrize("change", [{"store": "hdf5"}, {"batch_size": 4}, {"views": "plain"}])
def test_what_is_learnt_hangs_on_the_plain_view_of_the_images_alone(
    change, coded, dataset, tmp_path
):
    extract(quick(dataset, tmp_path / "c", codec="int5", **change))
    assert learnt(tmp_path / "c") == learnt(coded["int5"])


@pytest.mark.parametrize(("codec", "largest"), [("int5", 0.16), ("int4+pca", 0.31)])
def test_what_comes_back_is_as_near_as_the_steps_are_fine(codec, largest, coded, whole):
    """Errors spread evenly over a step have a root mean square of 0.29 steps."""
    (exact, plain), (kept, codes) = (
        (cache, codec_of(cache.root, cache.header.key))
        for cache in map(FeatureCache.open, (whole, coded[codec]))
    )
    samples = [(image_id, 0) for image_id in exact.image_ids]
    was = load_batch(exact, samples).decode(plain, "cpu")
    found = load_batch(kept, samples).decode(codes, "cpu")
    for x, y in zip(was.maps, found.maps, strict=True):
        deviations = x.transpose(0, 1).flatten(1).std(dim=1)
        errors = (x - y).transpose(0, 1).flatten(1).square().mean(dim=1).sqrt()
        assert 0 < float((errors / deviations).square().mean().sqrt()) < largest


def test_as_many_images_are_looked_at_as_one_says(coded, dataset, tmp_path, passes):
    extract(quick(dataset, tmp_path / "c", codec="int5", calibration_images=3))
    assert passes["samples"] == 3 + SAMPLES
    assert learnt(tmp_path / "c") != learnt(coded["int5"])


def test_the_images_are_spread_over_all():
    assert evenly(range(100), 4) == [0, 25, 50, 75]
    assert evenly(range(3), 32) == [0, 1, 2]


def test_cells_show_the_image_and_not_the_padding():
    level_map = torch.zeros(2, 8, 8)
    level_map[:, :4, :6] = torch.arange(24.0).view(4, 6) + 1
    placement = Placement((32, 48), (64, 64), (32, 48), (1.0, 1.0), (0.0, 0.0))
    assert some_cells(level_map, placement, 1000)[:, 0].tolist() == list(range(1, 25))
    few = some_cells(level_map, placement, 4)
    assert few.shape == (4, 2) and few.min() >= 1
    assert len(some_cells(level_map, placement, 0)) == 1


@pytest.mark.parametrize(("maximum", "blocks"), [(1000, 6), (8, 2), (0, 1)])
def test_blocks_are_four_neighbours_each_that_show_the_image(maximum, blocks):
    placement = Placement((40, 56), (64, 64), (40, 56), (1.0, 1.0), (0.0, 0.0), (False, False))
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    found = some_blocks(torch.stack([rows, columns]).float(), placement, maximum)
    assert found.shape == (4 * blocks, 2)
    for block in found.reshape(-1, 4, 2).tolist():
        top, left = block[0]
        assert block == [[top + k, left + j] for k in (0, 1) for j in (0, 1)]
        assert top + 1 < 5 and left + 1 < 7
    assert len({tuple(x) for x in found.tolist()}) == 4 * blocks


def test_a_map_of_one_row_counts_it_twice():
    placement = Placement((8, 32), (8, 32), (8, 32), (1.0, 1.0), (0.0, 0.0), (False, False))
    found = some_blocks(torch.arange(4.0).reshape(1, 1, 4), placement, 1000)
    assert found[:, 0].tolist() == [0, 1, 0, 1, 2, 3, 2, 3]


def test_a_cache_that_was_made_with_anothers_calibration_has_its_scales(dataset, tmp_path, passes):
    extract(quick(dataset, tmp_path / "a", codec="int5", limit=5))
    passes.clear()
    extract(quick(dataset, tmp_path / "b", codec="int5", calibration=tmp_path / "a"))
    assert passes["samples"] == SAMPLES, "nothing is looked at beforehand"
    assert learnt(tmp_path / "b") == learnt(tmp_path / "a")
    assert key_of(tmp_path / "b").calibration == key_of(tmp_path / "a").calibration
    assert verify(tmp_path / "b").sound
    again = quick(dataset, tmp_path / "b", codec="int5", calibration=tmp_path / "a")
    assert extract(again).written == 0
    shutil.rmtree(tmp_path / "a")
    assert extract(quick(dataset, tmp_path / "b", codec="int5")).written == 0


OTHERS = {
    "codec": ({"codec": "int6"}, "codec: int5 here, int6 there"),
    "no scales": ({"codec": "fp16"}, "codec: int5 here, fp16 there"),
    "size": ({"size": 32}, "short: 64 here, 32 there"),
    "levels": ({"levels": "c2"}, "levels: c1(stride 2"),
    "weights": ({"seed": 1}, "weights_sha256: "),
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_calibration_of_other_features_is_refused_in_a_line(
    other, dataset, tmp_path, coded, passes
):
    changes, said = OTHERS[other]
    extract(quick(dataset, tmp_path / "a", **{"codec": "int5", "limit": 2, **changes}))
    words = command(dataset, tmp_path / "c", codec="int5", calibration=tmp_path / "a")
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith(f"fdet: --calibration {tmp_path / 'a'}: its codec is of other features")
    assert said in line
    extract(quick(dataset, tmp_path / "c", codec="int5"))
    assert tree(tmp_path / "c") == tree(coded["int5"]), "nothing was left that refuses this"


def test_a_cache_that_was_begun_with_one_calibration_is_not_gone_on_with_by_another(
    coded, dataset, tmp_path
):
    out = shutil.copytree(coded["int5"], tmp_path / "c")
    extract(quick(dataset, tmp_path / "a", codec="int5", limit=2))
    before = tree(out)
    with pytest.raises(KeyMismatch, match="was made from other inputs: calibration: "):
        extract(quick(dataset, out, codec="int5", calibration=tmp_path / "a"))
    assert tree(out) == before


def test_a_damaged_calibration_is_not_taken(coded, dataset, tmp_path):
    other = shutil.copytree(coded["int5"], tmp_path / "a")
    flip_bit(other / "codec" / "c2" / "step.npy", -1)
    with pytest.raises(CorruptCache, match="its files are not those that the key names"):
        extract(quick(dataset, tmp_path / "c", codec="int5", calibration=other))
    assert not (tmp_path / "c" / "fdet.json").exists()


@pytest.fixture
def broken(tmp_path):
    """A data set whose images 0 and 6 are none."""
    data = make_dataset(tmp_path / "data")
    for name in ("10.png", "52.png"):
        (tmp_path / "data" / "images" / name).write_bytes(b"no image")
    return data


def test_images_that_cannot_be_read_are_left_out_of_the_calibration(broken, tmp_path, passes):
    summary = extract(quick(broken, tmp_path / "c", codec="int5"))
    assert sorted(summary.failed) == ["10.png", "52.png"]
    assert passes["samples"] == 10 + 20
    assert verify(tmp_path / "c").sound


def test_where_none_of_them_can_be_read_nothing_is_begun(broken, tmp_path):
    with pytest.raises(
        InputError, match="none of 2 images could be read to calibrate the codec"
    ) as caught:
        extract(quick(broken, tmp_path / "c", codec="int5", calibration_images=2))
    assert "give more --calibration-images" in str(caught.value)
    assert not (tmp_path / "c" / "fdet.json").exists()
    assert len(extract(quick(broken, tmp_path / "c", codec="int5")).failed) == 2


def test_a_value_that_no_codec_can_keep_is_named_before_anything_is_begun(
    dataset, tmp_path, monkeypatch
):
    forward = FrozenBackbone.forward

    def spoilt(backbone, canvases, content_hw):
        pyramid = forward(backbone, canvases, content_hw)
        pyramid.maps[1][:, 3] = float("nan")
        return pyramid

    monkeypatch.setattr(FrozenBackbone, "forward", spoilt)
    with pytest.raises(FeatureError, match=r"^image 10\.png \(id 10\), level c2: values are NaN"):
        extract(quick(dataset, tmp_path / "c", codec="int5+pca"))
    assert not (tmp_path / "c" / "fdet.json").exists()


def test_a_second_process_takes_the_calibration_that_stands_there(dataset, tmp_path, passes):
    shared = {**LARGE, "world": 2}
    extract(quick(dataset, tmp_path / "c", rank=1, calibration_images=3, **shared))
    passes.clear()
    extract(quick(dataset, tmp_path / "c", rank=0, calibration_images=7, **shared))
    assert passes["samples"] == SAMPLES // 2
    extract(quick(dataset, tmp_path / "alone", calibration_images=3, **LARGE))
    assert tree(tmp_path / "c") == tree(tmp_path / "alone")


@pytest.mark.parametrize("codec", CODECS)
def test_an_update_takes_codes_over_as_they_are_and_the_calibration(codec, coded, tmp_path, passes):
    data, older = make_dataset(tmp_path / "data"), coded[codec]
    with (tmp_path / "data" / "images" / "10.png").open("ab") as file:
        file.write(b"another file")
    summary = extract(quick(data, tmp_path / "c", codec=codec, update=older))
    assert (summary.reused, passes["samples"]) == (SAMPLES - 2, 2)
    assert learnt(tmp_path / "c") == learnt(older)
    mine, theirs = FeatureCache.open(tmp_path / "c"), FeatureCache.open(older)
    for image_id in mine.image_ids[1:]:
        for view in (0, 1):
            assert mine.stored(image_id, view)[1] == theirs.stored(image_id, view)[1]
    extract(quick(data, tmp_path / "direct", codec=codec, calibration=older))
    assert tree(tmp_path / "c") == tree(tmp_path / "direct")


def test_an_update_of_a_cache_that_was_begun_with_another_calibration_is_refused(dataset, tmp_path):
    extract(quick(dataset, tmp_path / "older", **LARGE))
    extract(quick(dataset, tmp_path / "c", calibration_images=2, rank=0, world=2, **LARGE))
    before = tree(tmp_path / "c")
    with pytest.raises(KeyMismatch, match="has another calibration than the cache that was begun"):
        extract(quick(dataset, tmp_path / "c", update=tmp_path / "older", **LARGE))
    assert tree(tmp_path / "c") == before


def test_an_update_by_another_codec_is_refused(coded, dataset, tmp_path):
    with pytest.raises(KeyMismatch, match="codec: int6 here, int5 there"):
        extract(quick(dataset, tmp_path / "c", codec="int6", update=coded["int5"]))
    assert not (tmp_path / "c" / "fdet.json").exists()


def test_a_damaged_sample_of_codes_is_found(coded, tmp_path):
    root = shutil.copytree(coded["int5"], tmp_path / "c")
    damage(root, 10, 1)
    assert [(d.image_id, d.view) for d in verify(root).damages] == [(10, 1)]


MOMENTS = {
    "before the header": (Moment("os.link", r"/fdet\.json$"), 0),
    "before the first of the codec's files": (Moment("os.link", r"/codec/"), 0),
    "between two of them": (Moment("os.link", r"/codec/", 3), 0),
    "all of them stand": (Moment("os.remove", r"/codec/.*\.scratch$", 4), 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_repeated_it_has_the_same_bytes(moment, coded, commands, dataset, tmp_path):
    kill, finished = MOMENTS[moment]
    words = command(dataset, tmp_path / "c", codec="int5")
    assert commands.run(words, kill) == -signal.SIGKILL
    assert len(records(tmp_path / "c")) == finished
    extract(quick(dataset, tmp_path / "c", codec="int5"))
    assert tree(tmp_path / "c") == tree(coded["int5"])


@pytest.mark.slow
def test_killed_between_two_shards_it_goes_on_without_another_calibration(
    commands, dataset, tmp_path, passes
):
    kill = Moment("os.link", r"/commits/.*\.json$", 3)
    assert commands.run(command(dataset, tmp_path / "c", **LARGE), kill) == -signal.SIGKILL
    assert len(records(tmp_path / "c")) == 2
    assert extract(quick(dataset, tmp_path / "c", **LARGE)).written == passes["samples"] == 12
    extract(quick(dataset, tmp_path / "direct", **LARGE))
    assert tree(tmp_path / "c") == tree(tmp_path / "direct")


@pytest.mark.slow
def test_what_was_begun_is_not_completed_by_other_scales(coded, commands, dataset, tmp_path):
    kill = Moment("os.link", r"/codec/", 2)
    assert commands.run(command(dataset, tmp_path / "c", codec="int5"), kill) == -signal.SIGKILL
    with pytest.raises(InputError, match="repeat the command that the cache was begun with"):
        extract(quick(dataset, tmp_path / "c", codec="int5", calibration_images=2))
    extract(quick(dataset, tmp_path / "c", codec="int5"))
    assert tree(tmp_path / "c") == tree(coded["int5"])


def test_without_its_scales_a_cache_is_not_read(coded, dataset, tmp_path):
    root = shutil.copytree(coded["int5"], tmp_path / "c")
    (root / "codec" / "c1" / "shift.npy").unlink()
    with pytest.raises(CorruptCache, match=r"codec/c1/shift\.npy"):
        codec_of(root, key_of(root))
    assert [d.file for d in verify(root).damages] == ["codec/c1/shift.npy"]
    extract(quick(dataset, root, codec="int5"))
    assert tree(root) == tree(coded["int5"]), "the command that made it makes them again"


def test_the_scales_are_numpy_files(coded):
    step = np.load(coded["int5"] / "codec" / "c1" / "step.npy", allow_pickle=False)
    level = key_of(coded["int5"]).levels.levels[0]
    assert step.shape == (level.channels,) and step.dtype == np.float32


def test_a_damaged_scale_is_taken_out_and_made_again(coded, dataset, tmp_path):
    root = shutil.copytree(coded["int5"], tmp_path / "c")
    flip_bit(root / "codec" / "c1" / "step.npy", -1)
    assert {d.file for d in verify(root).damages} == {"codec/c1/step.npy"}
    remove_damaged(root)
    assert extract(quick(dataset, root, codec="int5")).written == 0
    assert tree(root) == tree(coded["int5"])
    remove_cache(root)
    assert not root.exists()
