import itertools
import shutil
import threading

import pytest
import torch

from fdet.cache.codecs import get_codec
from fdet.cache.errors import CorruptCache, MissingSample
from fdet.cache.loader import load_batch, load_batches
from fdet.cache.reader import FeatureCache
from fdet.cache.sampler import epoch_batches

from .handmade import ends_within, entry_of, make_cache, make_header, maps_of


def batches_of(cache, epochs: int = 3):
    per_epoch = [
        epoch_batches(cache.header.layout, cache.image_ids, 2, 0, e) for e in range(epochs)
    ]
    return list(itertools.chain(*per_epoch))


def loading_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("fdet-loader")]


def assert_same(one, other):
    assert (one.samples, one.placements) == (other.samples, other.placements)
    for x, y in zip(one.maps, other.maps, strict=True):
        assert x.dtype == y.dtype and torch.equal(x, y)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_batch_stacks_its_samples_in_order_in_their_stored_form(tmp_path, dtype):
    cache = make_cache(tmp_path / "a.fdet", make_header(dtype))
    samples = [(38, 1), (10, 0), (24, 1)]
    batch = load_batch(cache, samples)
    assert batch.samples == tuple(samples)
    assert batch.placements == tuple(entry_of(cache.header, *s).placement for s in samples)
    for level, stacked in enumerate(batch.maps):
        expected = [torch.from_numpy(maps_of(cache.header, *s)[level]) for s in samples]
        assert torch.equal(stacked, torch.stack(expected))
        stacked += 1  # a batch is its owner's


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_batch_decodes_to_a_pyramid(tmp_path, dtype):
    cache = make_cache(tmp_path / "a.fdet", make_header(dtype))
    codec = get_codec(cache.header.key.codec)
    batch = load_batch(cache, [(3, 0), (4, 1)])
    pyramid = batch.decode(codec, cache.header.key.levels, torch.device("cpu"))
    assert (len(pyramid), pyramid.canvas_hw) == (2, (16, 48))
    for stored, x in zip(batch.maps, pyramid.maps, strict=True):
        assert x.dtype == torch.float32
        assert torch.equal(x, stored.float())


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("prefetch", [0, 1, 4, 100])
def test_the_order_is_the_given_one_whatever_the_number_of_threads(whole, workers, prefetch):
    batches = batches_of(whole)
    loaded = load_batches(whole, batches, workers=workers, prefetch=prefetch)
    for samples, batch in zip(batches, loaded, strict=True):
        assert_same(batch, load_batch(whole, samples))
    assert loading_threads() == []


def test_no_batches_load_nothing(whole):
    assert list(load_batches(whole, [])) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_closing_early_ends_the_threads(whole, workers):
    def take_two_of_many():
        loaded = load_batches(whole, batches_of(whole, 200), workers=workers)
        next(loaded), next(loaded)
        assert loading_threads()
        loaded.close()

    ends_within(20, take_two_of_many)
    assert loading_threads() == []


def test_at_most_so_many_batches_wait(whole, monkeypatch):
    read = []
    real = FeatureCache.sample

    def counted(self, image_id, view=0):
        read.append(image_id)
        return real(self, image_id, view)

    monkeypatch.setattr(FeatureCache, "sample", counted)
    loaded = load_batches(whole, [[(10, 0)]] * 50, workers=2, prefetch=3)
    next(loaded)
    loaded.close()
    assert len(read) <= 4


@pytest.mark.parametrize("workers", [1, 2])
def test_damage_surfaces_at_its_batch_and_ends_the_threads(root, workers):
    shutil.copy(root / "32x32/p3/c/0/0/0/0", root / "32x32/p3/c/1/0/0/0")
    cache = FeatureCache.open(root)
    good, bad = [(10, 0), (24, 1)], [(10, 0), (31, 0)]
    loaded = load_batches(cache, [good, good, bad, good, good], workers=workers)
    assert_same(next(loaded), load_batch(cache, good))
    assert_same(next(loaded), load_batch(cache, good))
    with pytest.raises(CorruptCache, match="32x32-1"):
        next(loaded)
    assert list(loaded) == []
    assert loading_threads() == []


def test_an_unknown_image_surfaces_too(whole):
    with pytest.raises(MissingSample, match="image 999"):
        list(load_batches(whole, [[(10, 0)], [(999, 0)]]))
