"""`fdet cache convert` gives the bytes that an extraction into the other store would have given."""

import re
import shutil
import signal
from types import SimpleNamespace

import pytest

from fdet.cache import background
from fdet.cache.disk.publish import only_writer
from fdet.cache.errors import CorruptCache, IncompleteCache, InputError, KeyMismatch, StorageError
from fdet.cache.format.annotation_copy import NAME as ANNOTATIONS
from fdet.cache.reader import FeatureCache
from fdet.cache.verify import verify
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.upkeep.convert import Conversion, convert

from ....generated import make_dataset
from ...command_server import Moment
from ...quick import damage, flip_bit, quick, records, sample_place, tree

OTHER = {"zarr": "hdf5", "hdf5": "zarr"}


@pytest.fixture
def other(store):
    """The store to convert to."""
    return OTHER[store]


@pytest.fixture
def wanted(other, quick_caches):
    """What an extraction makes there."""
    return tree(quick_caches[other])


def test_the_bytes_are_those_of_an_extraction(whole, other, wanted, tmp_path, passes):
    before = tree(whole)
    samples, size = convert(whole, tmp_path / "c", Conversion(store=other))
    assert tree(tmp_path / "c") == wanted
    assert samples == 24
    assert size == FeatureCache.open(tmp_path / "c").manifest.stored_bytes
    assert not passes, "no backbone"
    assert tree(whole) == before


@pytest.mark.parametrize(
    "options",
    [
        {"codec": "fp16"},
        {"size": None, "short": 64, "long": 128, "views": "plain,scale=0.7..1.4"},
    ],
    ids=["fp16", "several canvases"],
)
def test_there_and_back_again(options, store, other, dataset, tmp_path):
    extract(quick(dataset, tmp_path / "a", store=store, **options))
    convert(tmp_path / "a", tmp_path / "b", Conversion(store=other))
    convert(tmp_path / "b", tmp_path / "c", Conversion(store=store))
    assert tree(tmp_path / "c") == tree(tmp_path / "a")
    extract(quick(dataset, tmp_path / "direct", store=other, **options))
    assert tree(tmp_path / "b") == tree(tmp_path / "direct")


def test_a_copy_in_the_same_store_is_the_same(whole, store, tmp_path):
    convert(whole, tmp_path / "c", Conversion(store=store))
    assert tree(tmp_path / "c") == tree(whole)


def test_failed_images_stay_failed(store, other, tmp_path):
    data = make_dataset(tmp_path / "data")
    for name in ("10.png", "sub/31.png"):
        (tmp_path / "data" / "images" / name).write_bytes(b"no image")
    extract(quick(data, tmp_path / "a", store=store))
    convert(tmp_path / "a", tmp_path / "b", Conversion(store=other))
    mine, theirs = FeatureCache.open(tmp_path / "b"), FeatureCache.open(tmp_path / "a")
    assert mine.failed == theirs.failed == dict.fromkeys((10, 31), "not an image that can be read")
    assert len(mine) == 10
    extract(quick(data, tmp_path / "direct", store=other))
    assert tree(tmp_path / "b") == tree(tmp_path / "direct")


SHARD_WRITER = background.shard_writer


@pytest.fixture
def written(monkeypatch):
    """begun: the numbers of the shards; to one in `refused` the disk says no."""
    shards = SimpleNamespace(begun=[], refused=())

    def noting(root, header, shard):
        shards.begun.append(shard.number)
        if shard.number in shards.refused:
            raise StorageError("no room")
        return SHARD_WRITER(root, header, shard)

    monkeypatch.setattr(background, "shard_writer", noting)
    return shards


def test_what_is_finished_is_left_alone(whole, other, tmp_path, written):
    for _ in range(2):
        assert convert(whole, tmp_path / "c", Conversion(store=other))[0] == 24
    assert written.begun == [0, 1, 2, 3]


def test_after_an_error_of_the_disk_it_goes_on(whole, other, wanted, tmp_path, written):
    written.refused = (2,)
    with pytest.raises(StorageError, match="no room"):
        convert(whole, tmp_path / "c", Conversion(store=other))
    assert records(tmp_path / "c") == ["64x64-0", "64x64-1"]
    assert not (tmp_path / "c" / "manifest.json").exists()
    written.refused = ()
    convert(whole, tmp_path / "c", Conversion(store=other))
    assert written.begun == [0, 1, 2, 2, 3]
    assert tree(tmp_path / "c") == wanted


def test_the_extraction_goes_on_with_what_a_conversion_began(
    whole, other, wanted, dataset, tmp_path, written, passes
):
    written.refused = (2,)
    with pytest.raises(StorageError):
        convert(whole, tmp_path / "c", Conversion(store=other))
    written.refused = ()
    assert extract(quick(dataset, tmp_path / "c", store=other)).written == passes["samples"] == 12
    assert tree(tmp_path / "c") == wanted


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        Moment("os.remove", r"/\.fdet\.json\.scratch$"),
        Moment("os.link", r"/(c\.2\.0\.0\.0|2\.h5)$"),
        Moment("os.link", r"/commits/64x64-1\.json$"),
        Moment("os.link", r"/manifest\.json$"),
        Moment("os.remove", r"/\.manifest\.json\.scratch$"),
    ],
    ids=lambda moment: moment.path,
)
def test_killed_and_repeated_it_ends_with_the_same_bytes(
    moment, commands, whole, other, wanted, tmp_path
):
    words = ["cache", "convert", whole, tmp_path / "c", "--store", other]
    assert commands.run(words, moment) == -signal.SIGKILL
    kept = {n: raw for n, raw in tree(tmp_path / "c").items() if n.startswith("commits/6")}
    assert commands.run(words) == 0
    assert tree(tmp_path / "c") == wanted
    assert kept.items() <= wanted.items()


def test_a_damaged_sample_stops_it_and_is_named(whole, store, other, wanted, tmp_path):
    source = shutil.copytree(whole, tmp_path / "source")
    image = FeatureCache.open(source).header.layout.shards[2].images[1]
    place = sample_place(source, image.id, view=1, level=1)
    flip_bit(*place)
    said = f"{place[0]}: shard 64x64-2, level c2, slot 3 (image {image.id}, view 1)"
    with pytest.raises(CorruptCache, match=re.escape(said)):
        convert(source, tmp_path / "c", Conversion(store=other))
    assert records(tmp_path / "c") == ["64x64-0", "64x64-1"]
    flip_bit(*place)
    convert(source, tmp_path / "c", Conversion(store=other))
    assert tree(tmp_path / "c") == wanted


def test_damaged_annotations_stop_it_before_anything_is_written(whole, other, tmp_path):
    source = shutil.copytree(whole, tmp_path / "source")
    flip_bit(source / ANNOTATIONS, 40)
    with pytest.raises(CorruptCache, match="annotations"):
        convert(source, tmp_path / "c", Conversion(store=other))
    assert tree(tmp_path / "c") == {}


def test_a_record_that_is_damaged_there_is_named(whole, other, tmp_path):
    convert(whole, tmp_path / "c", Conversion(store=other))
    (tmp_path / "c" / "manifest.json").unlink()
    flip_bit(tmp_path / "c" / "commits" / "64x64-1.json", 30)
    with pytest.raises(CorruptCache, match=r"commits/64x64-1\.json"):
        convert(whole, tmp_path / "c", Conversion(store=other))


def test_an_unknown_store_is_refused_with_the_nearest(whole, tmp_path):
    with pytest.raises(InputError, match="--store 'hfd5'; did you mean 'hdf5'"):
        convert(whole, tmp_path / "c", Conversion(store="hfd5"))
    assert not (tmp_path / "c").exists()


def test_a_folder_with_other_things_in_it_is_refused(whole, other, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"not empty \(notes\.txt, \.\.\.\) and holds no cache"):
        convert(whole, tmp_path, Conversion(store=other))
    assert tree(tmp_path) == {"notes.txt": b"mine"}


@pytest.mark.parametrize("there", ["itself", "the same features in the same store", "others"])
def test_another_cache_is_refused(there, whole, store, other, quick_caches, dataset, tmp_path):
    out = tmp_path / "c"
    if there == "others":
        extract(quick(dataset, out, store=other, codec="fp16"))
    else:
        shutil.copytree(whole, out)
    source = out if there == "itself" else whole
    before = tree(out)
    with pytest.raises(KeyMismatch, match="holds another cache"):
        convert(source, out, Conversion(store=other))
    assert tree(out) == before


def test_an_unfinished_cache_is_refused(whole, other, tmp_path):
    source = shutil.copytree(whole, tmp_path / "source")
    (source / "manifest.json").unlink()
    with pytest.raises(IncompleteCache):
        convert(source, tmp_path / "c", Conversion(store=other))
    with pytest.raises(InputError, match="is not a cache"):
        convert(tmp_path / "nowhere", tmp_path / "c", Conversion(store=other))
    assert not (tmp_path / "c").exists()


def test_a_second_process_is_refused(whole, other, tmp_path):
    with (
        only_writer(tmp_path / "c", "rank-0-of-1"),
        pytest.raises(StorageError, match="another fdet process"),
    ):
        convert(whole, tmp_path / "c", Conversion(store=other))


def test_what_was_converted_is_sound_and_damage_is_found_there(whole, other, tmp_path):
    convert(whole, tmp_path / "c", Conversion(store=other))
    assert verify(tmp_path / "c").sound
    damage(tmp_path / "c", 10, 1)
    found = verify(tmp_path / "c").damages
    assert [(d.shard, d.level, d.image_id, d.view) for d in found] == [("64x64-0", "c1", 10, 1)]
