import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from fdet.cache import open_shards
from fdet.cache import reader as reader_file
from fdet.cache.disk.files import FileEntry
from fdet.cache.errors import CorruptCache, FdetError, InputError, MissingSample
from fdet.cache.format.chunks import Chunk, compress
from fdet.cache.format.header import CacheHeader
from fdet.cache.format.records import OK, read_record, record_name, samples_name, samples_to_bytes
from fdet.cache.layout import Bucket, ImageEntry, Layout
from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.cache.reader import FeatureCache
from fdet.cache.writer import seal

from .handmade import (
    FEW_CODECS,
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

VIEWS = make_key().views

# What a Linux process may open by default.
FEW_FILES = """
import resource, sys
from fdet.tests.cache.handmade import *
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
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


def places(root, level: str) -> list[range]:
    """Where the frames of the shard lie in its file, by slot."""
    number = ("p3", "p4").index(level)
    chunks = [FeatureCache.open(root).entry(*sample).chunks[number] for sample in SLOTS]
    return [range(chunk.offset, chunk.offset + chunk.length) for chunk in chunks]


def places_in_file(root, level: str) -> list[tuple[tuple[int, int], range]]:
    """(sample, place) of every frame in the file that holds this level."""
    path = level_file(root, level)
    levels = [other for other in ("p3", "p4") if level_file(root, other) == path]
    return [one for other in levels for one in zip(SLOTS, places(root, other), strict=True)]


def test_iteration_gives_the_plain_view_of_every_image(whole):
    assert [(s.image_id, s.view) for s in whole] == [(i, 0) for i in whole.image_ids]
    assert len(whole) == len(list(whole)) == 7
    for sample in whole:
        for found, written in zip(
            sample.stored, maps_of(whole.header, sample.image_id, 0), strict=True
        ):
            assert found.tobytes() == written.tobytes()


@pytest.mark.parametrize("codec", FEW_CODECS)
def test_every_sample_comes_back_exactly(tmp_path, store, codec):
    cache = make_cache(tmp_path, make_header(codec, store), failed={24})
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


def test_the_rows_that_are_named_are_filled_and_no_others(whole, header):
    maps = whole.empty_maps(10, 4)
    for x in maps:
        x[:] = 7
    whole.read_into([(38, 1), (10, 0)], maps, rows=[3, 1])
    for level, x in enumerate(maps):
        np.testing.assert_array_equal(x[3], maps_of(header, 38, 1)[level])
        np.testing.assert_array_equal(x[1], maps_of(header, 10, 0)[level])
        assert (x[[0, 2]] == 7).all()


@pytest.mark.parametrize("rows", [[0, 2], [0, -1], [0], [0, 1, 1]], ids=str)
def test_rows_that_are_not_there_or_not_one_a_sample_are_refused(whole, rows):
    with pytest.raises(ValueError):  # noqa: PT011  (numpy's and Python's own)
        whole.read_into([(10, 0), (24, 0)], whole.empty_maps(10, 2), rows=rows)


def test_room_has_the_shape_of_the_bucket(whole):
    assert [x.shape for x in whole.empty_maps(3, 5)] == [(5, 3, 2, 6), (5, 5, 1, 3)]
    with pytest.raises(MissingSample, match="image 999"):
        whole.empty_maps(999, 1)


@pytest.mark.parametrize("spread", [np.asfortranarray, lambda x: np.stack([x, x], -1)[..., 0]])
def test_arrays_whose_numbers_do_not_lie_side_by_side_are_refused(whole, spread):
    maps = [spread(x) for x in whole.empty_maps(10, 2)]
    with pytest.raises((AssertionError, ValueError)):
        whole.read_into([(10, 0), (24, 0)], maps)


@pytest.mark.parametrize("count", [1, 3])
def test_room_for_another_number_of_samples_is_refused(whole, count):
    with pytest.raises((AssertionError, ValueError)):
        whole.read_into([(10, 0), (24, 0)], whole.empty_maps(10, count))


def test_maps_of_another_bucket_are_refused_even_where_they_have_as_many_bytes(tmp_path, store):
    images = [ImageEntry(1, "1.png", (16, 48)), ImageEntry(2, "2.png", (48, 16))]
    buckets = tuple(Bucket(image.hw, 1, (image,)) for image in images)
    header = CacheHeader(make_key(), Layout(VIEWS, buckets), {}, store)
    cache = make_cache(tmp_path, header)
    with pytest.raises((AssertionError, ValueError)):
        cache.read_into([(1, 0), (2, 1)], cache.empty_maps(1, 2))
    with pytest.raises((AssertionError, ValueError)):
        cache.read_into([(2, 0)], cache.empty_maps(1, 1))


def test_what_was_read_cannot_be_written(whole):
    with pytest.raises(ValueError, match="read-only"):
        whole.sample(10).stored[0][:] = 0


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


def test_an_unknown_store_is_named(tmp_path, header):
    other = replace(header, store="papyrus")
    (tmp_path / "fdet.json").write_bytes(other.to_bytes())
    with pytest.raises(CorruptCache, match="unknown store 'papyrus'; known: zarr, hdf5"):
        FeatureCache.open(tmp_path)


@pytest.mark.parametrize("level", ["p3", "p4"])
def test_every_flipped_bit_of_a_frame_is_found_and_of_anything_else_changes_no_value(root, level):
    found, cache = places_in_file(root, level), FeatureCache.open(root)
    for position in flipped_in(level_file(root, level)):
        hit = [sample for sample, place in found if position in place]
        if not hit and position % 7:
            continue
        for sample in SLOTS:
            error = attempt(assert_exact, cache, *sample)
            assert (error is not None) == (sample in hit), position
            assert error is None or "its checksum does not hold" in str(error)
    assert damage_seen(root) == []


def test_a_flipped_chunk_is_named_with_its_slot_and_spares_the_others(root):
    path = level_file(root, "p4")
    raw = bytearray(path.read_bytes())
    raw[places(root, "p4")[2][5]] ^= 1
    path.write_bytes(raw)
    (error,) = damage_seen(root)
    assert str(error) == (
        f"{path}: shard 32x32-1, level p4, slot 2 (image 38, view 0): its checksum does not hold"
    )
    with pytest.raises(CorruptCache, match="slot 2"):
        FeatureCache.open(root).stored(38, 0)


def test_what_was_read_before_is_checked_again_at_every_read(root):
    cache = FeatureCache.open(root)
    assert_exact(cache, 38, 0)
    path, place = level_file(root, "p4"), places(root, "p4")[2]
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), bytes(4), place.start + 4)
    with pytest.raises(CorruptCache, match="slot 2"):
        cache.sample(38, 0)


def test_the_manifest_alone_does_not_vouch_for_a_missing_shard(root):
    level_file(root, "p3").unlink()
    with pytest.raises(CorruptCache, match=r"No such file.*\(shard 32x32-1\)"):
        FeatureCache.open(root).sample(31)
    assert_exact(FeatureCache.open(root), 10, 0)


def test_a_truncated_shard_is_found_at_every_length_that_takes_a_frame(root):
    path, found = level_file(root, "p4"), places_in_file(root, "p4")
    size = path.stat().st_size
    for length in range(size - 1, -1, -(size // 150)):
        with path.open("r+b") as file:
            file.truncate(length)
        refused = damage_seen(root)
        assert len(refused) == len({one for one, place in found if place.stop > length}), length
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


@pytest.mark.parametrize("other", [{"seed": 1}, {"codec": "fp16"}])
def test_the_shard_of_another_cache_is_found(root, tmp_path, store, other):
    foreign = make_cache(tmp_path / "b.fdet", make_header(store=store, **other))
    shutil.copy(level_file(foreign.root, "p3"), level_file(root, "p3"))
    assert len(damage_seen(root)) == 4


def test_two_frames_swapped_in_their_file_are_found(root):
    path = level_file(root, "p3")
    raw = bytearray(path.read_bytes())
    first, second = places(root, "p3")[:2]
    if len(first) != len(second):
        pytest.skip("the two frames differ in length")
    one, other = raw[first.start : first.stop], raw[second.start : second.stop]
    raw[first.start : first.stop], raw[second.start : second.stop] = other, one
    path.write_bytes(raw)
    told = [str(error).partition("level p3, ")[2] for error in damage_seen(root)]
    assert told == [f"slot {k} (image 31, view {k}): its checksum does not hold" for k in (0, 1)]


def forge(root, entries) -> FeatureCache:
    """The cache with these entries in the table of shard 32x32-1, and every digest in order."""
    header, raw = CacheHeader.read(root), samples_to_bytes(entries, 2)
    record = read_record(root, header.id, "32x32-1")
    files = {**record.files, samples_name("32x32-1"): FileEntry.of(raw)}
    (root / samples_name("32x32-1")).write_bytes(raw)
    (root / record_name("32x32-1")).write_bytes(replace(record, files=files).to_bytes())
    (root / "manifest.json").unlink()
    seal(root, header)
    return FeatureCache.open(root)


def test_samples_that_stand_in_other_slots_are_found(root):
    entries = [FeatureCache.open(root).entry(*sample) for sample in SLOTS]
    cache = forge(root, entries[::-1])
    with pytest.raises(CorruptCache, match="slot 0 of shard 32x32-1 names another sample than"):
        cache.sample(31, 0)


@pytest.mark.parametrize(
    "place", [(0, 2**40), (2**63, 20), (2**64 - 2, 20), (2**40, 20), (0, 0), (0, 2**64 - 1)]
)
def test_a_table_that_points_nowhere_is_corrupt_though_its_digest_holds(root, place):
    entries = [FeatureCache.open(root).entry(*sample) for sample in SLOTS]
    crc = google_crc32c.value(b"") if place[1] == 0 else 0
    entries[1] = replace(entries[1], chunks=(Chunk(*place, crc), entries[1].chunks[1]))
    cache = forge(root, entries)
    with pytest.raises(CorruptCache, match=r"level p3, slot 1 \(image 31, view 1\)"):
        cache.sample(31, 1)
    assert_exact(cache, 31, 0)


def test_a_frame_longer_than_any_is_refused_before_it_takes_memory(root):
    entries = [FeatureCache.open(root).entry(*sample) for sample in SLOTS]
    with level_file(root, "p3").open("r+b") as file:
        file.truncate(2**29)
    chunks = (Chunk(2**20, 2**28, 0), entries[1].chunks[1])
    cache = forge(root, [entries[0], replace(entries[1], chunks=chunks), *entries[2:]])
    tracemalloc.start()
    try:
        for read in (cache.sample, cache.stored):
            with pytest.raises(CorruptCache, match=r"level p3, slot 1 \(image 31, view 1\)"):
                read(31, 1)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_pickled_cache_reads_the_same(whole):
    whole.sample(10)
    copy = pickle.loads(pickle.dumps(whole))
    assert len(pickle.dumps(whole)) < 20_000, "the open shards must stay behind"
    for sample in all_samples(copy):
        assert_exact(copy, *sample)


def test_threads_read_at_once_while_shards_open_and_close(whole, monkeypatch):
    monkeypatch.setattr(open_shards, "OPEN_SHARDS", 1)
    cache = FeatureCache.open(whole.root)

    def read(seed: int) -> None:
        samples = all_samples(cache) * 4
        random.Random(seed).shuffle(samples)
        for sample in samples:
            assert_exact(cache, *sample)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(read, seed) for seed in range(4)]:
            future.result()


def shards_of(cache: FeatureCache) -> set[str]:
    """The shards of which this process has files open."""
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of the listing itself
            links.append(descriptor.readlink())
    shards = range(len(cache.header.layout.shards))
    files = {k: level_path(cache.root, cache.header, k, "p3") for k in shards}
    return {cache.header.layout.shards[k].name for k, path in files.items() if path in links}


def test_no_more_shards_stay_open_than_allowed_and_the_oldest_goes_first(root, monkeypatch):
    monkeypatch.setattr(open_shards, "OPEN_SHARDS", 2)
    cache = FeatureCache.open(root)
    assert shards_of(cache) == set()
    for image_id in (10, 31, 10, 3):
        assert_exact(cache, image_id, 0)
    assert shards_of(cache) == {"32x32-0", "16x48-0"}
    assert_exact(cache, 31, 1)
    assert shards_of(cache) == {"32x32-1", "16x48-0"}
    del cache


def test_all_caches_of_a_process_together_keep_to_the_bound(whole, tmp_path, monkeypatch):
    """As twenty caches that are read as one would otherwise need twenty times the descriptors."""
    monkeypatch.setattr(open_shards, "OPEN_SHARDS", 2)
    caches = [
        FeatureCache.open(shutil.copytree(whole.root, tmp_path / f"{k}.fdet")) for k in range(4)
    ]
    for _ in range(2):
        for cache in caches:
            for sample in all_samples(cache):
                assert_exact(cache, *sample)
            assert sum(len(shards_of(one)) for one in caches) == 2
    assert_exact(caches[0], 10, 0)
    assert shards_of(caches[0]) == {"32x32-0"}


def test_a_cache_that_is_gone_has_no_file_open(root):
    cache = FeatureCache.open(root)
    assert len(list(cache)) == 7
    assert len(shards_of(cache)) == 3
    pickled = pickle.dumps(cache)
    del cache
    assert shards_of(pickle.loads(pickled)) == set()


def test_a_shard_in_use_stays_open_though_others_push_it_out(root, monkeypatch):
    monkeypatch.setattr(open_shards, "OPEN_SHARDS", 1)
    cache, real = FeatureCache.open(root), reader_file.decompress

    def interrupted(*arguments):
        monkeypatch.setattr(reader_file, "decompress", real)
        for image_id in (31, 3):
            assert_exact(cache, image_id, 0)
        assert shards_of(cache) == {"32x32-0", "16x48-0"}
        return real(*arguments)

    monkeypatch.setattr(reader_file, "decompress", interrupted)
    assert_exact(cache, 10, 0)
    assert shards_of(cache) == {"16x48-0"}


def test_a_shard_that_is_refused_leaves_no_file_open(root):
    level_file(root, "p4", 1).unlink()
    cache = FeatureCache.open(root)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(CorruptCache):
            cache.sample(31)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_process_may_open_fewer_files_than_the_cache_has(tmp_path, store):
    images = tuple(ImageEntry(k + 1, f"{k}.png", (8, 8)) for k in range(210))
    layout = Layout(VIEWS, (Bucket((8, 8), 1, images),))
    levels = PyramidSpec(tuple(LevelSpec(f"p{k}", 8, 1) for k in range(5)))
    make_cache(tmp_path, CacheHeader(make_key(levels=levels), layout, {}, store))
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
