"""Samples that have been read once come from memory, and are the same to the last bit."""

import itertools
from dataclasses import replace

import pytest
import torch

from fdet.cache.errors import CorruptCache, MissingSample
from fdet.cache.joined import JoinedCache
from fdet.cache.loader import BatchReader, load_batches
from fdet.cache.reader import FeatureCache
from fdet.cache.resident import ResidentSamples, resident_bytes
from fdet.cache.sampler import Sampler

from .handmade import FEW_CODECS, level_path, make_cache, make_header, tiny_header

CPU = torch.device("cpu")


def resident_reader(cache, **more) -> BatchReader:
    return BatchReader(cache, resident=ResidentSamples(cache.header, CPU), **more)


def epochs(cache, count: int, size: int = 2):
    sampler = Sampler(cache.header.layout, cache.image_ids, size, 0, count)
    return [sampler.batches(epoch) for epoch in range(count)]


def all_views(cache, size: int = 3):
    """Every sample once, in batches of one bucket."""
    batches = []
    for bucket in cache.header.layout.buckets:
        samples = [(i.id, v) for i in bucket.images for v in range(len(cache.views))]
        batches += [samples[k : k + size] for k in range(0, len(samples), size)]
    return batches


def assert_same(one, other):
    assert (one.samples, one.placements) == (other.samples, other.placements)
    for x, y in zip(one.maps, other.maps, strict=True):
        assert x.dtype == y.dtype and torch.equal(x, y)


def spoil(cache):
    """No byte of any sample can be read any more."""
    for shard, level in itertools.product(
        range(len(cache.header.layout.shards)), cache.header.key.levels.names
    ):
        path = level_path(cache.root, cache.header, shard, level)
        path.write_bytes(b"\xff" * path.stat().st_size)


@pytest.mark.parametrize(
    ("codec", "size"), [("fp32", 4), ("fp16", 2), ("bf16", 2), ("int8", 1)], ids=str
)
def test_so_many_bytes_are_needed(codec, size, store):
    header = make_header(codec, store)
    # 5 images on 32x32 and 2 on 16x48, two views, levels of (3, /8) and (5, /16).
    values = 2 * (5 * (3 * 16 + 5 * 4) + 2 * (3 * 12 + 5 * 3))
    assert resident_bytes(header) == values * size
    room = ResidentSamples(header, CPU)._maps
    assert sum(x.nbytes for bucket in room for x in bucket) == resident_bytes(header)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("codec", FEW_CODECS)
def test_the_second_time_nothing_is_read_from_the_disk(codec, store, workers, tmp_path):
    cache = make_cache(tmp_path / "a.fdet", make_header(codec, store))
    batches = all_views(cache)
    expected = list(load_batches(BatchReader(cache), batches))
    reader = resident_reader(cache)
    for found, once in zip(load_batches(reader, batches, workers=workers), expected, strict=True):
        assert_same(found, once)
    spoil(cache)
    with pytest.raises(CorruptCache):
        BatchReader(FeatureCache.open(cache.root)).read(batches[0])
    for found, once in zip(load_batches(reader, batches, workers=workers), expected, strict=True):
        assert_same(found, once)


@pytest.mark.parametrize("workers", [1, 4])
def test_epochs_of_drawn_views_are_those_from_the_disk(whole, workers):
    reader = resident_reader(whole)
    for batches in epochs(whole, 6):
        plain = load_batches(BatchReader(whole), batches)
        resident = load_batches(reader, batches, workers=workers)
        for one, other in zip(resident, plain, strict=True):
            assert_same(one, other)


def test_only_what_is_not_there_yet_is_read(whole, monkeypatch):
    asked = []
    read_into = FeatureCache.read_into
    monkeypatch.setattr(
        FeatureCache, "read_into", lambda c, s, m: asked.append(list(s)) or read_into(c, s, m)
    )
    reader = resident_reader(whole)
    reader.read([(10, 0), (17, 1)])
    reader.read([(17, 1), (24, 0), (10, 0), (10, 1)])
    reader.read([(10, 1), (10, 0), (24, 0)])
    assert asked == [[(10, 0), (17, 1)], [(24, 0), (10, 1)]]


def test_a_sample_twice_in_a_batch(whole):
    samples = [(10, 1), (17, 0), (10, 1)]
    assert_same(resident_reader(whole).read(samples), BatchReader(whole).read(samples))


def test_a_batch_is_its_owners(whole):
    reader, samples = resident_reader(whole), [(10, 0), (17, 1)]
    for _ in range(2):
        batch = reader.read(samples)
        assert_same(batch, BatchReader(whole).read(samples))
        for x in batch.maps:
            x.fill_(7)


def test_a_sample_that_could_not_be_read_is_not_kept(root, header):
    cache = FeatureCache.open(root)
    path = level_path(root, header, 0, "p4")
    chunk = cache.entry(10).chunks[1]
    sound = path.read_bytes()
    damaged = bytearray(sound)
    damaged[chunk.offset] ^= 1
    path.write_bytes(damaged)
    reader = resident_reader(cache)
    with pytest.raises(CorruptCache):
        reader.read([(17, 0), (10, 0)])
    assert (10, 0) not in reader.resident
    path.write_bytes(sound)
    assert_same(reader.read([(17, 0), (10, 0)]), BatchReader(cache).read([(17, 0), (10, 0)]))


def test_skipped_samples_stay_away_and_the_others_come_from_memory(root, header):
    cache = FeatureCache.open(root)
    path, chunk = level_path(root, header, 0, "p3"), cache.entry(10).chunks[0]
    damaged = bytearray(path.read_bytes())
    damaged[chunk.offset] ^= 1
    path.write_bytes(damaged)
    reader = resident_reader(cache, on_corrupt="skip")
    first = reader.read([(10, 0), (17, 0)])
    spoil(cache)
    again = reader.read([(10, 0), (17, 0)])
    assert first.samples == again.samples == ((17, 0),)
    assert_same(first, again)
    assert reader.read([(10, 0)]).samples == ()
    assert list(reader.skipped) == [(10, 0)]


def test_what_is_in_memory_is_not_skipped_for_what_happens_to_the_disk_later(root, header):
    cache = FeatureCache.open(root)
    reader = resident_reader(cache, on_corrupt="skip")
    reader.read([(10, 0), (17, 0)])
    spoil(cache)
    assert reader.read([(10, 0), (24, 0), (17, 0)]).samples == ((10, 0), (17, 0))
    assert list(reader.skipped) == [(24, 0)]


def test_several_caches_as_one_stay_in_memory_too(tmp_path, store):
    one = make_cache(tmp_path / "one", make_header(store=store))
    other = make_cache(tmp_path / "other", moved(make_header(store=store), 1000))
    joined = JoinedCache([one, other])
    reader = resident_reader(joined)
    samples = [(1010, 1), (10, 0), (1038, 0)]
    first = reader.read(samples)
    assert_same(first, BatchReader(joined).read(samples))
    spoil(one)
    spoil(other)
    assert_same(reader.read(samples), first)


def moved(header, by: int):
    """The same layout, with other image ids."""
    buckets = tuple(
        replace(b, images=tuple(replace(i, id=i.id + by) for i in b.images))
        for b in header.layout.buckets
    )
    return replace(header, layout=replace(header.layout, buckets=buckets))


@pytest.mark.parametrize("samples", [[(999, 0)], [(10, 0), (999, 0)], [(10, 5)]], ids=str)
def test_what_is_not_in_the_cache_is_missing(samples, whole):
    with pytest.raises(MissingSample):
        resident_reader(whole).read(samples)


def test_a_cache_of_one_small_bucket(tmp_path, store):
    cache = make_cache(tmp_path / "a.fdet", tiny_header(store))
    reader = resident_reader(cache)
    for _ in range(2):
        for batch in all_views(cache, 4):
            assert_same(reader.read(batch), BatchReader(cache).read(batch))
