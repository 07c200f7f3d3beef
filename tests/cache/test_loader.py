import itertools
import logging
import threading

import pytest
import torch

from fdet.cache.codecs.codec import codec_of, plain_codec
from fdet.cache.errors import CorruptCache, MissingSample
from fdet.cache.loader import BatchReader, load_batch, load_batches
from fdet.cache.reader import FeatureCache
from fdet.cache.sampler import Sampler

from .handmade import (
    FEW_CODECS,
    ends_within,
    entry_of,
    level_path,
    make_cache,
    make_header,
    maps_of,
)


def batches_of(cache, epochs: int = 3):
    sampler = Sampler(cache.header.layout, cache.image_ids, 2, 0, epochs)
    return list(itertools.chain(*map(sampler.batches, range(epochs))))


def loading_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("fdet-loader")]


def assert_same(one, other):
    assert (one.samples, one.placements) == (other.samples, other.placements)
    for x, y in zip(one.maps, other.maps, strict=True):
        assert x.dtype == y.dtype and torch.equal(x, y)


def damage(root, header, shard: int) -> None:
    """Flip a bit in the first chunk of the first level of a shard."""
    path = level_path(root, header, shard, "p3")
    offset = (
        FeatureCache.open(root).entry(header.layout.shards[shard].images[0].id).chunks[0].offset
    )
    with path.open("r+b") as file:
        file.seek(offset)
        (value,) = file.read(1)
        file.seek(offset)
        file.write(bytes([value ^ 1]))


@pytest.mark.parametrize("codec", FEW_CODECS)
def test_a_batch_stacks_its_samples_in_order_in_their_stored_form(tmp_path, codec, store):
    cache = make_cache(tmp_path / "a.fdet", make_header(codec, store))
    samples = [(38, 1), (10, 0), (24, 1)]
    batch = load_batch(cache, samples)
    assert batch.samples == tuple(samples)
    assert batch.placements == tuple(entry_of(cache.header, *s).placement for s in samples)
    assert batch.canvas_hw == (32, 32)
    for level, stacked in enumerate(batch.maps):
        expected = [torch.from_numpy(maps_of(cache.header, *s)[level]) for s in samples]
        assert torch.equal(stacked, torch.stack(expected))
        stacked += 1  # a batch is its owner's


@pytest.mark.parametrize("codec", FEW_CODECS)
def test_a_batch_decodes_to_a_pyramid(tmp_path, codec):
    cache = make_cache(tmp_path / "a.fdet", make_header(codec))
    batch = load_batch(cache, [(3, 0), (4, 1)])
    decoder = codec_of(cache.root, cache.header.key)
    pyramid = batch.decode(decoder, torch.device("cpu"))
    assert (len(pyramid), pyramid.canvas_hw) == (2, (16, 48))
    expected = decoder.decode(batch.maps, (16, 48))
    for x, y in zip(pyramid.maps, expected.maps, strict=True):
        assert x.dtype == torch.float32 and torch.equal(x, y)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("prefetch", [0, 1, 4, 100])
def test_the_order_is_the_given_one_whatever_the_number_of_threads(whole, workers, prefetch):
    batches = batches_of(whole)
    loaded = load_batches(BatchReader(whole), batches, workers=workers, prefetch=prefetch)
    for samples, batch in zip(batches, loaded, strict=True):
        assert_same(batch, load_batch(whole, samples))
    assert loading_threads() == []


def test_no_batches_load_nothing(whole):
    assert list(load_batches(BatchReader(whole), [])) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_closing_early_ends_the_threads(whole, workers):
    def take_two_of_many():
        loaded = load_batches(BatchReader(whole), batches_of(whole, 200), workers=workers)
        next(loaded), next(loaded)
        assert loading_threads()
        loaded.close()

    ends_within(20, take_two_of_many)
    assert loading_threads() == []


def test_at_most_so_many_batches_wait(whole, monkeypatch):
    read = []
    real = FeatureCache.read_into

    def counted(self, samples, maps):
        read.append(samples)
        return real(self, samples, maps)

    monkeypatch.setattr(FeatureCache, "read_into", counted)
    loaded = load_batches(BatchReader(whole), [[(10, 0)]] * 50, workers=2, prefetch=3)
    next(loaded)
    loaded.close()
    assert len(read) <= 4


@pytest.mark.parametrize("workers", [1, 2])
def test_damage_surfaces_at_its_batch_and_ends_the_threads(root, header, workers):
    damage(root, header, 1)
    cache = FeatureCache.open(root)
    good, bad = [(10, 0), (24, 1)], [(10, 0), (31, 0)]
    reader = BatchReader(cache)
    loaded = load_batches(reader, [good, good, bad, good, good], workers=workers)
    assert_same(next(loaded), load_batch(cache, good))
    assert_same(next(loaded), load_batch(cache, good))
    with pytest.raises(CorruptCache, match="32x32-1"):
        next(loaded)
    assert list(loaded) == []
    assert loading_threads() == []
    assert reader.skipped == {}


def test_an_unknown_image_surfaces_too(whole):
    with pytest.raises(MissingSample, match="image 999"):
        list(load_batches(BatchReader(whole), [[(10, 0)], [(999, 0)]]))


@pytest.mark.parametrize("workers", [1, 2])
def test_damaged_samples_are_skipped_aloud_where_that_is_asked_for(root, header, workers, caplog):
    damage(root, header, 1)
    cache = FeatureCache.open(root)
    reader = BatchReader(cache, on_corrupt="skip")
    batches = [[(10, 0), (31, 0), (38, 1)], [(31, 0)], [(31, 1), (31, 0)]]
    with caplog.at_level(logging.WARNING, "fdet"):
        mixed, alone, other = load_batches(reader, batches, workers=workers)
    assert_same(mixed, load_batch(cache, [(10, 0), (38, 1)]))
    assert_same(other, load_batch(cache, [(31, 1)]))
    assert (alone.samples, alone.placements, alone.canvas_hw) == ((), (), (32, 32))
    assert [x.shape for x in alone.maps] == [(0, 3, 4, 4), (0, 5, 2, 2)]
    assert list(reader.skipped) == [(31, 0)]
    assert "image 31, view 0" in reader.skipped[31, 0]
    assert all("image 31, view 0" in message for message in caplog.messages)
    assert caplog.messages[0].startswith("skipped, 1 so far: ")


def test_an_empty_batch_decodes_to_no_images(root, header):
    damage(root, header, 1)
    cache = FeatureCache.open(root)
    batch = BatchReader(cache, on_corrupt="skip").read([(31, 0)])
    assert len(batch.decode(plain_codec("fp32", header.key.levels), "cpu")) == 0


def test_what_is_missing_is_not_skipped(whole):
    with pytest.raises(MissingSample, match="image 999"):
        BatchReader(whole, on_corrupt="skip").read([(10, 0), (999, 0)])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a device")
def test_a_pinned_batch_holds_the_same_values(whole):
    samples = [(38, 1), (10, 0)]
    pinned = BatchReader(whole, pin=True).read(samples)
    assert all(x.is_pinned() for x in pinned.maps)
    assert_same(pinned, load_batch(whole, samples))
