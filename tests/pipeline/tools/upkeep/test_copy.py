"""`fdet cache copy`: all of a cache is the same files; a part is what an extraction of that part gives."""

import errno
import json
import shutil
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest

from fdet.cache import transfer
from fdet.cache.disk.publish import only_writer
from fdet.cache.errors import CorruptCache, IncompleteCache, InputError, KeyMismatch, StorageError
from fdet.cache.reader import FeatureCache
from fdet.cache.verify import verify
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.upkeep.copy import Part, copy

from ....generated import make_dataset
from ...command_server import Moment
from ...quick import damage, quick, records, tree


@pytest.fixture
def source(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "source")


@pytest.fixture
def subset(dataset, tmp_path):
    """Five images of the data set, in another order."""
    data = json.loads(dataset.read_text())
    data["images"] = [data["images"][k] for k in (7, 0, 4, 11, 2)]
    ids = {image["id"] for image in data["images"]}
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] in ids]
    path = tmp_path / "subset.json"
    path.write_text(json.dumps(data))
    return path


def test_the_files_are_the_same(whole, tmp_path, passes):
    before = tree(whole)
    manifest = FeatureCache.open(whole).manifest
    assert copy(whole, tmp_path / "c", Part()) == (24, manifest.stored_bytes)
    assert tree(tmp_path / "c") == before == tree(whole)
    assert not passes, "no backbone"


def test_failed_images_stay_failed(store, tmp_path):
    data = make_dataset(tmp_path / "data")
    (tmp_path / "data" / "images" / "10.png").write_bytes(b"no image")
    extract(quick(data, tmp_path / "a", store=store))
    copy(tmp_path / "a", tmp_path / "b", Part())
    copy(tmp_path / "a", tmp_path / "c", Part(limit=4))
    assert tree(tmp_path / "b") == tree(tmp_path / "a")
    assert FeatureCache.open(tmp_path / "c").failed == {10: "not an image that can be read"}


@pytest.fixture
def read(monkeypatch):
    """The files that were read, by name."""
    names, opened = [], transfer.opened_below

    def noting(root, name):
        names.append(name)
        return opened(root, name)

    monkeypatch.setattr(transfer, "opened_below", noting)
    return names


def test_what_is_finished_is_left_alone(whole, tmp_path, read):
    copy(whole, tmp_path / "c", Part())
    count = len(read)
    header = FeatureCache.open(whole).header
    copy(whole, tmp_path / "c", Part())
    assert sorted(read[count:]) == sorted(header.other_files), "no shard again"


def test_after_an_error_of_the_disk_it_goes_on(whole, tmp_path, read, monkeypatch):
    published = transfer.published

    def refusing(path, **more):
        if path.name == "64x64-2.npy":
            raise StorageError("no room")
        return published(path, **more)

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "published", refusing)
        with pytest.raises(StorageError, match="no room"):
            copy(whole, tmp_path / "c", Part())
    done = records(tmp_path / "c")
    assert "64x64-2" not in done
    assert not (tmp_path / "c" / "manifest.json").exists()
    read.clear()
    copy(whole, tmp_path / "c", Part())
    assert tree(tmp_path / "c") == tree(whole)
    assert {n for n in read if n.startswith("samples/")} == {
        f"samples/64x64-{k}.npy" for k in range(4) if f"64x64-{k}" not in done
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        Moment("os.link", r"/fdet\.json$"),
        Moment("os.link", r"/samples/64x64-2\.npy$"),
        Moment("os.link", r"/manifest\.json$"),
    ],
    ids=lambda moment: moment.path,
)
def test_killed_and_repeated_it_ends_with_the_same_bytes(moment, commands, whole, tmp_path):
    words = ["cache", "copy", whole, tmp_path / "c"]
    assert commands.run(words, moment) == -signal.SIGKILL
    assert commands.run(words) == 0
    assert tree(tmp_path / "c") == tree(whole)


def test_a_damaged_file_stops_it_and_is_named(source, tmp_path):
    image = FeatureCache.open(source).header.layout.shards[2].images[1]
    path = damage(source, image.id, view=1, level=1)
    with pytest.raises(CorruptCache, match="not those that were committed") as caught:
        copy(source, tmp_path / "c", Part())
    assert str(caught.value).startswith(f"{path}: ")
    assert "64x64-2" not in records(tmp_path / "c")
    assert not (tmp_path / "c" / path.relative_to(source)).exists()
    damage(source, image.id, view=1, level=1)
    copy(source, tmp_path / "c", Part())
    assert tree(tmp_path / "c") == tree(source)


def test_one_level_alone(whole, dataset, store, tmp_path, passes):
    samples, size = copy(whole, tmp_path / "c", Part(levels=("c2",)))
    part, all_of_it = FeatureCache.open(tmp_path / "c"), FeatureCache.open(whole)
    assert part.header.key == replace(
        all_of_it.header.key, levels=all_of_it.header.key.levels.only(["c2"])
    )
    assert (samples, size) == (24, part.manifest.stored_bytes)
    assert verify(tmp_path / "c").sound
    for mine, theirs in zip(part, all_of_it, strict=True):
        assert len(mine.maps) == 1
        assert np.array_equal(mine.maps[0], theirs.maps[1])
        assert mine.placement == theirs.placement
    assert not passes


def test_a_calibrated_codec_keeps_what_its_levels_need(dataset, tmp_path):
    extract(quick(dataset, tmp_path / "a", codec="int5+pca8"))
    copy(tmp_path / "a", tmp_path / "b", Part(levels=("c1",)))
    kept = {n: raw for n, raw in tree(tmp_path / "a").items() if n.startswith("codec/c1/")}
    assert kept == {n: raw for n, raw in tree(tmp_path / "b").items() if n.startswith("codec/")}
    assert verify(tmp_path / "b").sound


def test_the_images_of_a_file_are_what_an_extraction_of_it_gives(
    whole, subset, dataset, store, tmp_path
):
    assert copy(whole, tmp_path / "c", Part(images_from=subset))[0] == 10
    config = replace(quick(dataset, tmp_path / "direct", store=store), annotations=subset)
    extract(config)
    assert tree(tmp_path / "c") == tree(tmp_path / "direct")


def test_the_first_images_are_what_an_extraction_of_them_gives(whole, dataset, store, tmp_path):
    assert copy(whole, tmp_path / "c", Part(limit=5))[0] == 10
    extract(quick(dataset, tmp_path / "direct", store=store, limit=5))
    assert tree(tmp_path / "c") == tree(tmp_path / "direct")


def test_a_part_goes_on_and_is_recognised(whole, subset, tmp_path):
    part = Part(images_from=subset, levels=("c2",))
    copy(whole, tmp_path / "c", part)
    wanted = tree(tmp_path / "c")
    (tmp_path / "c" / "manifest.json").unlink()
    (tmp_path / "c" / "commits" / "64x64-1.json").unlink()
    assert copy(whole, tmp_path / "c", part)[0] == 10
    assert tree(tmp_path / "c") == wanted
    with pytest.raises(KeyMismatch, match="holds another cache"):
        copy(whole, tmp_path / "c", Part(limit=5))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"images": [{"id": 999, "file_name": "x.png", "width": 8, "height": 8}]},
            "1 of its 1 image not in .*id 999",
        ),
        (
            {"images": [{"id": 10, "file_name": "x.png", "width": 8, "height": 8}]},
            "image id 10 is x.png .* different data sets",
        ),
    ],
)
def test_images_that_the_cache_lacks_are_refused(change, said, whole, subset, tmp_path):
    data = {**json.loads(subset.read_text()), **change, "annotations": []}
    subset.write_text(json.dumps(data))
    with pytest.raises(InputError, match=said):
        copy(whole, tmp_path / "c", Part(images_from=subset))
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Part(levels=("c3",)), "--levels: no level 'c3' among c1, c2"),
        (Part(limit=0), "--limit: expected at least 1, got 0"),
    ],
)
def test_options_that_no_cache_has_are_refused(part, said, whole, tmp_path):
    with pytest.raises(InputError, match=said):
        copy(whole, tmp_path / "c", part)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("part", [Part(), Part(limit=3)], ids=["all", "part"])
def test_what_is_no_cache_or_no_place_for_one_is_refused(part, whole, source, tmp_path):
    (source / "manifest.json").unlink()
    with pytest.raises(IncompleteCache):
        copy(source, tmp_path / "c", part)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        copy(whole, tmp_path / "d", part)
    assert tree(tmp_path / "d") == {"notes.txt": b"mine"}
    with (
        only_writer(tmp_path / "e", "rank-0-of-1"),
        pytest.raises(StorageError, match="another fdet process"),
    ):
        copy(whole, tmp_path / "e", part)


def test_shards_of_other_bytes_are_no_finished_copy(store, tmp_path):
    data = make_dataset(tmp_path / "data")
    image = tmp_path / "data" / "images" / "10.png"
    whole, _ = image.read_bytes(), image.write_bytes(b"no image")
    source, out = tmp_path / "a", tmp_path / "b"
    extract(quick(data, source, store=store))
    copy(source, out, Part())
    image.write_bytes(whole)
    extract(replace(quick(data, source, store=store), retry_failed=True))
    before = tree(out)
    with pytest.raises(KeyMismatch, match=r"other bytes of shard .* images were tried again since"):
        copy(source, out, Part())
    assert tree(out) == before


def test_another_cache_is_refused(whole, dataset, store, tmp_path):
    extract(quick(dataset, tmp_path / "c", store=store, codec="fp16"))
    before = tree(tmp_path / "c")
    with pytest.raises(KeyMismatch, match="holds another cache"):
        copy(whole, tmp_path / "c", Part())
    assert tree(tmp_path / "c") == before


def test_no_thread_is_left(whole, tmp_path):
    copy(whole, tmp_path / "c", Part())
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("fdet-copy")]


def test_a_source_that_cannot_be_read_is_not_told_as_a_place_that_cannot_be_written(
    source, tmp_path, monkeypatch
):
    def failing(file, offset, length):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("fdet.cache.disk.files.OpenFile.read_at", failing)
    with pytest.raises(CorruptCache, match=rf"cannot read {source}/.*Input/output error"):
        copy(source, tmp_path / "c", Part())
