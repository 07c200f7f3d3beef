import os
import pickle
import random
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import google_crc32c
import pytest

from fdet.cache import reader as reader_file
from fdet.cache.errors import CorruptCache, FdetError, InputError, MissingSample
from fdet.cache.reader import FeatureCache
from fdet.cache.records import read_samples, samples_path
from fdet.cache.writer import read_record
from fdet.cache.stores.zarr_store import shard_path

from .handmade import (
    all_samples,
    assert_exact,
    attempt,
    entry_of,
    flipped_in,
    make_cache,
    make_header,
    maps_of,
)

# Shard 32x32-1 holds images 31 and 38.
IMAGES = (31, 38)
SLOTS = [(i, view) for i in IMAGES for view in (0, 1)]


def level_file(root, level: str, shard: int = 1):
    return shard_path(root, make_header().layout.shards[shard], level)


def damage_seen(root) -> list[FdetError]:
    """Read all samples of the shard with a fresh cache; each is exact, or refused and named."""
    cache, refused = FeatureCache.open(root), []
    for image_id, view in SLOTS:
        found = attempt(assert_exact, cache, image_id, view)
        if found is not None:
            assert isinstance(found, CorruptCache)
            assert re.search(r"shard 32x32-1, level p[34]", str(found))
            refused.append(found)
    return refused


def test_iteration_gives_the_plain_view_of_every_image(whole):
    assert [(s.image_id, s.view) for s in whole] == [(i, 0) for i in whole.image_ids]
    assert len(whole) == len(list(whole)) == 7
    for sample in whole:
        for found, written in zip(
            sample.maps, maps_of(whole.header, sample.image_id, 0), strict=True
        ):
            assert found.tobytes() == written.tobytes()


def test_an_entry_tells_of_a_sample_without_reading_its_maps(root):
    shutil.copy(level_file(root, "p3", 0), level_file(root, "p3", 1))
    entry = FeatureCache.open(root).entry(38, 1)
    expected = entry_of(make_header(), 38, 1)
    assert (entry.placement, entry.sha256) == (expected.placement, expected.sha256)
    assert len(entry.checksums) == 2


@pytest.mark.parametrize(("image_id", "view"), [(999, 0), (31, 2), (31, -1)])
def test_what_is_not_in_the_cache_is_missing(whole, image_id, view):
    with pytest.raises(MissingSample):
        whole.sample(image_id, view)


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


@pytest.mark.parametrize("level", ["p3", "p4"])
def test_every_flipped_bit_of_a_shard_is_found(root, level):
    for position in flipped_in(level_file(root, level)):
        assert damage_seen(root), f"byte {position} of {level} was flipped and nobody saw it"
    assert damage_seen(root) == []


def test_a_flipped_chunk_is_named_with_its_slot_and_spares_the_others(root):
    positions = flipped_in(level_file(root, "p4"))
    next(positions)  # the first byte of the first chunk
    (error,) = damage_seen(root)
    assert f"{level_file(root, 'p4')}: shard 32x32-1, level p4, slot 0: its checksum" in str(error)


def test_the_manifest_alone_does_not_vouch_for_a_missing_shard(root):
    level_file(root, "p3").unlink()
    with pytest.raises(CorruptCache, match=r"No such file.*\(shard 32x32-1, level p3\)"):
        FeatureCache.open(root).sample(31)
    assert_exact(FeatureCache.open(root), 10, 0)


def test_a_truncated_shard_is_found_at_every_length(root):
    path = level_file(root, "p4")
    for length in range(path.stat().st_size - 1, -1, -3):
        with path.open("r+b") as file:
            file.truncate(length)
        assert len(damage_seen(root)) == 4, length


@pytest.mark.parametrize("more", [1, 16, 4096])
def test_a_shard_with_bytes_behind_it_is_found(root, more):
    with level_file(root, "p3").open("ab") as file:
        file.write(bytes(more))
    assert len(damage_seen(root)) == 4


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
        assert found is None or "belongs to another sample" in str(found) or "absent" in str(found)


def test_the_shard_of_another_cache_is_found(root, tmp_path):
    other = make_cache(tmp_path / "b.fdet", make_header(seed=1))
    path = level_file(other.root, "p3")
    assert path.read_bytes() == level_file(root, "p3").read_bytes()
    make_cache(tmp_path / "c.fdet", make_header("float16"))
    shutil.copy(level_file(tmp_path / "c.fdet", "p3"), level_file(root, "p3"))
    assert len(damage_seen(root)) == 4


def test_two_chunks_swapped_between_slots_are_found(root):
    path = level_file(root, "p3")
    raw = bytearray(path.read_bytes())
    index = len(raw) - 6 * 16 - 4
    first, second = raw[index : index + 16], raw[index + 16 : index + 32]
    raw[index : index + 32] = second + first
    raw[-4:] = google_crc32c.value(bytes(raw[index:-4])).to_bytes(4, "little")
    path.write_bytes(raw)
    told = [str(error).partition("level p3, ")[2] for error in damage_seen(root)]
    assert told == [f"slot {k}: its chunk is sound but belongs to another sample" for k in (0, 1)]


def test_samples_that_stand_in_other_slots_are_found(root, header):
    cache = FeatureCache.open(root)
    cache.sample(31)
    shard = cache._open["32x32-1"]
    record = read_record(root, header, "32x32-1")
    entries = read_samples(root, record, 2, record.samples)
    cache._open["32x32-1"] = type(shard)(entries[::-1], shard.levels)
    with pytest.raises(
        CorruptCache, match="slot 0 of shard 32x32-1 names image 38 view 1, expected"
    ):
        cache.sample(31, 0)


def test_a_pickled_cache_reads_the_same(whole):
    whole.sample(10)
    copy = pickle.loads(pickle.dumps(whole))
    assert len(pickle.dumps(whole)) < 20_000, "the open shards must stay behind"
    for sample in all_samples(copy):
        assert_exact(copy, *sample)


def test_two_threads_read_at_once_while_shards_open_and_close(whole, monkeypatch):
    monkeypatch.setattr(reader_file, "OPEN_SHARDS", 1)
    cache = FeatureCache.open(whole.root)

    def read(seed: int) -> None:
        samples = all_samples(cache) * 4
        random.Random(seed).shuffle(samples)
        for sample in samples:
            assert_exact(cache, *sample)

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(read, seed) for seed in range(4)]:
            future.result()


def test_no_more_shards_stay_open_than_allowed_and_the_oldest_goes_first(whole, monkeypatch):
    monkeypatch.setattr(reader_file, "OPEN_SHARDS", 2)
    cache = FeatureCache.open(whole.root)
    for image_id in (10, 31, 10, 3):
        assert_exact(cache, image_id, 0)
    assert list(cache._open) == ["32x32-0", "16x48-0"]
    assert_exact(cache, 31, 1)


def test_closed_shards_give_their_descriptors_back(whole, monkeypatch):
    monkeypatch.setattr(reader_file, "OPEN_SHARDS", 1)
    cache = FeatureCache.open(whole.root)
    cache.sample(10)
    (kept,) = cache._open.values()
    descriptor = kept.levels[0]._descriptor
    cache.sample(31)
    kept.levels[0].read(0, kept.entries[0].checksums[0])  # still in use: still open
    del kept
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_samples_stand_where_their_slots_are(root, header):
    for shard in header.layout.shards:
        entries = read_samples(root, read_record(root, header, shard.name))
        for slot, entry in enumerate(entries):
            address = header.layout.locate(entry.image_id, entry.view)
            assert (address.shard.name, address.slot) == (shard.name, slot)
        assert samples_path(root, shard.name).is_file()
