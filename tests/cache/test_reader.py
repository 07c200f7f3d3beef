import os
import pickle
import random
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import google_crc32c
import numpy as np
import pytest

from fdet.cache import reader as reader_file
from fdet.cache.chunks import compress
from fdet.cache.errors import CorruptCache, FdetError, InputError, MissingSample
from fdet.cache.layout import Bucket, ImageEntry, Layout
from fdet.cache.reader import FeatureCache
from fdet.cache.records import OK, read_record, samples_to_bytes

from .handmade import (
    all_samples,
    assert_exact,
    attempt,
    entry_of,
    flipped_in,
    level_path,
    make_cache,
    make_header,
    make_key,
    maps_of,
)

# Shard 32x32-1 holds images 31 and 38.
IMAGES = (31, 38)
SLOTS = [(i, view) for i in IMAGES for view in (0, 1)]

FEW_FILES = """
import resource, sys
from fdet.tests.cache.handmade import *
cache = FeatureCache.open(sys.argv[1])
for shard in cache.header.layout.shards[:8]:
    cache.sample(shard.images[0].id)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
cache = FeatureCache.open(sys.argv[1])
for sample in all_samples(cache):
    assert_exact(cache, *sample)
"""


def level_file(root, level: str, shard: int = 1):
    return level_path(root, FeatureCache.open(root).header, shard, level)


def damage_seen(root) -> list[FdetError]:
    """Read all samples of the shard with a fresh cache; each is exact, or refused and named."""
    cache, refused = FeatureCache.open(root), []
    for image_id, view in SLOTS:
        found = attempt(assert_exact, cache, image_id, view)
        if found is not None:
            assert isinstance(found, CorruptCache)
            assert re.search(r"shard 32x32-1, level p[34]", str(found))
            assert f"(image {image_id}, view {view})" in str(found)
            refused.append(found)
    return refused


def places(root, level: int) -> list[range]:
    """Where the frames of the shard lie in its file, by slot."""
    chunks = [FeatureCache.open(root).entry(*sample).chunks[level] for sample in SLOTS]
    return [range(chunk.offset, chunk.offset + chunk.length) for chunk in chunks]


def test_iteration_gives_the_plain_view_of_every_image(whole):
    assert [(s.image_id, s.view) for s in whole] == [(i, 0) for i in whole.image_ids]
    assert len(whole) == len(list(whole)) == 7
    for sample in whole:
        for found, written in zip(
            sample.maps, maps_of(whole.header, sample.image_id, 0), strict=True
        ):
            assert found.tobytes() == written.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_sample_comes_back_exactly(tmp_path, store, dtype):
    cache = make_cache(tmp_path, make_header(dtype, store), failed={24})
    assert len(all_samples(cache)) == 12
    for sample in all_samples(cache):
        assert_exact(cache, *sample)


def test_a_batch_is_read_into_the_callers_arrays(whole, header):
    samples = [(38, 1), (10, 0), (38, 1), (24, 1)]
    maps = whole.empty_maps(10, 4)
    placements = whole.read_into(samples, maps)
    assert placements == [entry_of(header, *sample).placement for sample in samples]
    for level, x in enumerate(maps):
        expected = np.stack([maps_of(header, *sample)[level] for sample in samples])
        np.testing.assert_array_equal(x, expected, strict=True)


def test_room_has_the_shape_of_the_bucket(whole):
    assert [x.shape for x in whole.empty_maps(3, 5)] == [(5, 3, 2, 6), (5, 5, 1, 3)]
    with pytest.raises(MissingSample, match="image 999"):
        whole.empty_maps(999, 1)


def test_arrays_that_would_keep_old_values_are_refused(whole):
    spread = [np.zeros((*x.shape, 2), x.dtype)[..., 0] for x in whole.empty_maps(10, 1)]
    with pytest.raises((AssertionError, ValueError)):
        whole.read_into([(10, 0)], spread)


@pytest.mark.parametrize("count", [1, 3])
def test_room_for_another_number_of_samples_is_refused(whole, count):
    with pytest.raises((AssertionError, ValueError)):
        whole.read_into([(10, 0), (24, 0)], whole.empty_maps(10, count))


def test_samples_of_two_buckets_are_refused_even_where_they_have_as_many_bytes(tmp_path, store):
    images = [ImageEntry(1, "1.png", (16, 48)), ImageEntry(2, "2.png", (48, 16))]
    buckets = tuple(Bucket(image.hw, 1, (image,)) for image in images)
    header = make_header(store=store)
    header = type(header)(make_key(), Layout(("plain",), buckets), "float32", {}, store)
    cache = make_cache(tmp_path, header)
    with pytest.raises((AssertionError, ValueError)):
        cache.read_into([(1, 0), (2, 0)], cache.empty_maps(1, 2))


def test_what_was_read_cannot_be_written(whole):
    with pytest.raises(ValueError, match="read-only"):
        whole.sample(10).maps[0][:] = 0


def test_an_entry_tells_of_a_sample_without_reading_its_maps(root, header):
    level_file(root, "p3").write_bytes(b"")
    entry = FeatureCache.open(root).entry(38, 1)
    expected = entry_of(header, 38, 1)
    assert (entry.placement, entry.sha256, entry.status) == (expected.placement, "cd" * 32, OK)
    assert len(entry.chunks) == 2


def test_a_stored_sample_is_the_frames_as_they_lie_on_the_disk(whole, header):
    for sample in all_samples(whole):
        entry, frames = whole.stored(*sample)
        assert entry == whole.entry(*sample)
        assert frames == tuple(compress(x) for x in maps_of(header, *sample))


def test_a_failed_sample_has_no_frames(tmp_path, header):
    entry, frames = make_cache(tmp_path, header, failed={17}).stored(17, 1)
    assert (entry.status, entry.chunks, frames) == ("the file is empty", (), ())


@pytest.mark.parametrize(("image_id", "view"), [(999, 0), (31, 2), (31, -1)])
def test_what_is_not_in_the_cache_is_missing(whole, image_id, view):
    for call in (whole.sample, whole.entry, whole.stored):
        with pytest.raises(MissingSample):
            call(image_id, view)


def test_failed_images_are_told_and_left_out(tmp_path, header):
    cache = make_cache(tmp_path, header, failed={17, 4})
    assert cache.failed == {17: "the file is empty", 4: "the file is empty"}
    assert cache.image_ids == (10, 24, 31, 38, 3)
    with pytest.raises(MissingSample, match="image 4 failed at extraction: the file is empty"):
        cache.sample(4, 1)
    for sample in all_samples(cache):
        assert_exact(cache, *sample)


def test_no_cache_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="is not a cache"):
        FeatureCache.open(tmp_path)


def test_an_unknown_store_is_named(tmp_path, header, whole):
    other = type(header)(header.key, header.layout, header.dtype, {}, "papyrus")
    (tmp_path / "fdet.json").write_bytes(other.to_bytes())
    with pytest.raises(CorruptCache, match="unknown store 'papyrus'; known: zarr, hdf5"):
        FeatureCache.open(tmp_path)


@pytest.mark.parametrize("level", ["p3", "p4"])
def test_every_flipped_bit_of_a_shard_is_found_or_changes_no_value(root, level):
    found = places(root, ("p3", "p4").index(level))
    cache = FeatureCache.open(root)
    for position in flipped_in(level_file(root, level)):
        hit = [sample for sample, place in zip(SLOTS, found, strict=True) if position in place]
        for sample in SLOTS:
            error = attempt(assert_exact, cache, *sample)
            assert (error is not None) == (sample in hit), position
            if error is not None:
                assert "its checksum does not hold" in str(error)
    assert damage_seen(root) == []


def test_a_flipped_chunk_is_named_with_its_slot_and_spares_the_others(root):
    path = level_file(root, "p4")
    raw = bytearray(path.read_bytes())
    raw[places(root, 1)[2][5]] ^= 1
    path.write_bytes(raw)
    (error,) = damage_seen(root)
    assert str(error) == (
        f"{path}: shard 32x32-1, level p4, slot 2 (image 38, view 0): its checksum does not hold"
    )
    with pytest.raises(CorruptCache, match="slot 2"):
        FeatureCache.open(root).stored(38, 0)


def test_the_manifest_alone_does_not_vouch_for_a_missing_shard(root):
    level_file(root, "p3").unlink()
    with pytest.raises(CorruptCache, match=r"No such file.*\(shard 32x32-1\)"):
        FeatureCache.open(root).sample(31)
    assert_exact(FeatureCache.open(root), 10, 0)


def test_a_truncated_shard_is_found_at_every_length_that_takes_a_frame(root):
    path, found = level_file(root, "p4"), places(root, 1)
    for length in range(path.stat().st_size - 1, -1, -3):
        with path.open("r+b") as file:
            file.truncate(length)
        refused = damage_seen(root)
        assert len(refused) == sum(place.stop > length for place in found), length
        assert all("bytes are there" in str(error) for error in refused)


def test_the_files_of_two_shards_swapped_are_found(root):
    one, other = level_file(root, "p3", 0), level_file(root, "p3", 1)
    one.rename(root / "kept")
    other.rename(one)
    (root / "kept").rename(other)
    cache = FeatureCache.open(root)
    for image_id, view in all_samples(cache):
        found = attempt(assert_exact, cache, image_id, view)
        # 16x48 is another array; of the others each slot must be refused.
        assert (found is None) == (image_id in (3, 4))
        assert found is None or "checksum" in str(found) or "bytes are there" in str(found)


@pytest.mark.parametrize("other", [{"seed": 1}, {"dtype": "float16"}])
def test_the_shard_of_another_cache_is_found(root, tmp_path, store, other):
    foreign = make_cache(tmp_path / "b.fdet", make_header(store=store, **other))
    shutil.copy(level_file(foreign.root, "p3"), level_file(root, "p3"))
    assert len(damage_seen(root)) == 4


def test_two_frames_swapped_in_their_file_are_found(root):
    path = level_file(root, "p3")
    raw = bytearray(path.read_bytes())
    first, second = places(root, 0)[:2]
    if len(first) != len(second):
        pytest.skip("the two frames differ in length")
    one, other = raw[first.start : first.stop], raw[second.start : second.stop]
    raw[first.start : first.stop], raw[second.start : second.stop] = other, one
    path.write_bytes(raw)
    told = [str(error).partition("level p3, ")[2] for error in damage_seen(root)]
    assert told == [f"slot {k} (image 31, view {k}): its checksum does not hold" for k in (0, 1)]


def forge(root, header, entries) -> FeatureCache:
    """The cache with these entries in the table of shard 32x32-1, and every digest in order."""
    from fdet.cache.writer import retract, seal

    record = read_record(root, header.id, "32x32-1")
    raw = samples_to_bytes(entries, 2)
    name = "samples/32x32-1.npy"
    kept = {n: (root / n).read_bytes() for n in record.files}
    retract(root, record)
    files = {**record.files, name: type(record.files[name]).of(raw)}
    record = type(record)(record.cache_id, record.shard, files, record.samples, {})
    for n, data in {**kept, name: raw, "commits/32x32-1.json": record.to_bytes()}.items():
        (root / n).write_bytes(data)
    seal(root, FeatureCache_header(root))
    return FeatureCache.open(root)


def FeatureCache_header(root):
    from fdet.cache.header import CacheHeader

    return CacheHeader.read(root)


def test_samples_that_stand_in_other_slots_are_found(root, header):
    entries = [FeatureCache.open(root).entry(*sample) for sample in SLOTS]
    cache = forge(root, header, entries[::-1])
    with pytest.raises(CorruptCache, match="slot 0 of shard 32x32-1 names another sample than"):
        cache.sample(31, 0)


@pytest.mark.parametrize(
    "place", [(0, 2**40), (2**63, 20), (2**64 - 2, 20), (2**40, 20), (0, 0), (0, 2**64 - 1)]
)
def test_a_table_that_points_nowhere_is_corrupt_though_its_digest_holds(root, header, place):
    from dataclasses import replace

    from fdet.cache.chunks import Chunk

    entries = [FeatureCache.open(root).entry(*sample) for sample in SLOTS]
    crc = google_crc32c.value(b"") if place[1] == 0 else 0
    entries[1] = replace(entries[1], chunks=(Chunk(*place, crc), entries[1].chunks[1]))
    cache = forge(root, header, entries)
    with pytest.raises(CorruptCache, match=r"level p3, slot 1 \(image 31, view 1\)"):
        cache.sample(31, 1)
    assert_exact(cache, 31, 0)


def test_a_pickled_cache_reads_the_same(whole):
    whole.sample(10)
    copy = pickle.loads(pickle.dumps(whole))
    assert len(pickle.dumps(whole)) < 20_000, "the open shards must stay behind"
    for sample in all_samples(copy):
        assert_exact(copy, *sample)


def test_threads_read_at_once_while_shards_open_and_close(whole, monkeypatch):
    monkeypatch.setattr(reader_file, "OPEN_SHARDS", 1)
    cache = FeatureCache.open(whole.root)

    def read(seed: int) -> None:
        samples = all_samples(cache) * 4
        random.Random(seed).shuffle(samples)
        for sample in samples:
            assert_exact(cache, *sample)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(read, seed) for seed in range(4)]:
            future.result()


def test_no_more_shards_stay_open_than_allowed_and_the_oldest_goes_first(whole, monkeypatch):
    monkeypatch.setattr(reader_file, "OPEN_SHARDS", 2)
    cache = FeatureCache.open(whole.root)
    for image_id in (10, 31, 10, 3):
        assert_exact(cache, image_id, 0)
    assert list(cache._open) == [0, 2]
    assert_exact(cache, 31, 1)


def test_closed_shards_give_their_descriptors_back(whole, monkeypatch):
    monkeypatch.setattr(reader_file, "OPEN_SHARDS", 1)
    cache = FeatureCache.open(whole.root)
    cache.sample(10)
    (kept,) = cache._open.values()
    descriptors = set(kept.files)
    cache.sample(31)
    for descriptor in descriptors:
        assert os.pread(descriptor, 1, 0), "still in use: still open"
    del kept
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_a_shard_that_is_refused_leaves_no_file_open(root):
    level_file(root, "p4", 1).unlink()
    cache = FeatureCache.open(root)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(CorruptCache):
            cache.sample(31)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_process_may_open_fewer_files_than_the_cache_has(tmp_path, store):
    images = tuple(ImageEntry(k + 1, f"{k}.png", (16, 48)) for k in range(150))
    layout = Layout(("plain",), (Bucket((16, 48), 1, images),))
    header = make_header(store=store)
    make_cache(tmp_path, type(header)(make_key(), layout, "float32", {}, store))
    done = subprocess.run(
        [sys.executable, "-c", FEW_FILES, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("stands_there", ["folder", "link", "pipe"])
def test_what_is_no_file_in_place_of_a_shard_is_corrupt(root, stands_there):
    path = level_file(root, "p3")
    path.rename(root / "kept")
    if stands_there == "folder":
        path.mkdir()
    elif stands_there == "link":
        path.symlink_to(root / "kept")
    else:
        os.mkfifo(path)
    with pytest.raises(CorruptCache, match=r"(regular file|symbolic links).*\(shard 32x32-1\)"):
        FeatureCache.open(root).sample(31)


def test_a_moved_cache_is_the_same_cache(root, tmp_path):
    shutil.move(root, tmp_path / "moved")
    cache = FeatureCache.open(tmp_path / "moved")
    for sample in all_samples(cache):
        assert_exact(cache, *sample)
