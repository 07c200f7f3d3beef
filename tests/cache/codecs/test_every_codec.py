"""Features of every codec, from the encoder to the disk, and back by every way that there is."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from fdet.cache.codecs.calibration import calibration_digest
from fdet.cache.codecs.codec import Codec, codec_of
from fdet.cache.errors import KeyMismatch
from fdet.cache.format.header import CacheHeader
from fdet.cache.joined import JoinedCache
from fdet.cache.loader import BatchReader, load_batch
from fdet.cache.pyramid import FeaturePyramid
from fdet.cache.reader import FeatureCache
from fdet.cache.resident import ResidentSamples
from fdet.cache.verify import verify
from fdet.cache.writer import create_cache, seal

from ..handmade import (
    ANNOTATIONS,
    CODECS,
    LEVELS,
    all_samples,
    entry_of,
    learnt,
    make_header,
    write_samples,
)


def features_of(header: CacheHeader, image_id: int, view: int) -> FeaturePyramid:
    """What a backbone might give for one sample."""
    hw = header.layout.buckets[header.layout.bucket_of(image_id)].canvas_hw
    rng = np.random.default_rng([image_id, view])
    maps = [rng.standard_normal((1, *level.shape(hw))) * 3 for level in LEVELS.levels]
    return FeaturePyramid(LEVELS, tuple(torch.from_numpy(x).float() for x in maps), hw)


def encoded(header: CacheHeader, codec: Codec, image_id: int, view: int) -> list[np.ndarray]:
    stored = codec.encode(features_of(header, image_id, view))
    return [x[0].numpy() for x in stored]


def cache_of(root, header: CacheHeader, files) -> FeatureCache:
    header = create_cache(root, header, ANNOTATIONS, files)
    codec = codec_of(root, header.key)
    for shard in header.layout.shards:
        samples = header.layout.samples(shard)
        coded = ((entry_of(header, *one), encoded(header, codec, *one)) for one in samples)
        write_samples(root, header, shard, coded)
    seal(root, header)
    return FeatureCache.open(root)


def moved(header: CacheHeader, by: int) -> CacheHeader:
    """The same layout, with other image ids."""
    buckets = tuple(
        replace(b, images=tuple(replace(i, id=i.id + by) for i in b.images))
        for b in header.layout.buckets
    )
    return replace(header, layout=replace(header.layout, buckets=buckets))


@pytest.mark.parametrize("name", CODECS)
def test_features_come_back_within_the_bound_by_every_way(tmp_path, name, store):
    header, files = make_header(name, store), learnt(name)
    one = cache_of(tmp_path / "one", header, files)
    other = cache_of(tmp_path / "other", moved(header, 1000), files)
    assert verify(one.root).sound
    joined = JoinedCache([one, other])
    readers = [
        BatchReader(one),
        BatchReader(one, resident=ResidentSamples(one.header, torch.device("cpu"))),
        BatchReader(joined),
        BatchReader(joined, resident=ResidentSamples(joined.header, torch.device("cpu"))),
    ]
    codec = codec_of(one.root, one.header.key)
    assert len(all_samples(one)) == 14
    for sample in all_samples(one):
        live = features_of(header, *sample)
        for reader in readers * 2:
            found = reader.read([sample]).decode(codec, "cpu")
            for level, x, y in zip(codec.levels, live.maps, found.maps, strict=True):
                assert ((x.double() - y.double()).abs() <= level.bound(x)).all()
        kept = one.sample(*sample)
        for x, y in zip(pickle.loads(pickle.dumps(kept)).maps, found.maps, strict=True):
            assert x.dtype == np.float32 and np.array_equal(x, y[0].numpy())
        assert kept.stored[0].dtype == one.header.dtype, "which decoding leaves as they are"
    samples = [(10, 1), (1017, 0), (31, 0)]
    together = load_batch(joined, samples).decode(codec, "cpu")
    for row, sample in enumerate(samples):
        alone = load_batch(joined, [sample]).decode(codec, "cpu")
        for x, y in zip(together.maps, alone.maps, strict=True):
            assert torch.equal(x[row], y[0])


@pytest.mark.parametrize("name", ["int8", "fp16+pca3"])
def test_caches_of_other_calibrations_are_not_read_as_one(tmp_path, name, store):
    header, files = make_header(name, store), learnt(name, seed=1)
    key = replace(header.key, calibration=calibration_digest(files))
    one = cache_of(tmp_path / "one", header, learnt(name))
    other = cache_of(tmp_path / "other", replace(moved(header, 1000), key=key), files)
    with pytest.raises(KeyMismatch, match=r"cannot be read as one: calibration: ") as caught:
        JoinedCache([one, other])
    advice = f"; make the second with `--calibration {tmp_path / 'one'}`"
    assert str(caught.value).endswith(advice)


def test_caches_of_other_codecs_are_told_of_the_codec_and_get_no_such_advice(tmp_path):
    one = cache_of(tmp_path / "one", make_header("int8"), learnt("int8"))
    other = cache_of(tmp_path / "other", moved(make_header("int5"), 1000), learnt("int5"))
    with pytest.raises(KeyMismatch, match=r"codec: int8 here, int5 there") as caught:
        JoinedCache([one, other])
    assert "--calibration" not in str(caught.value)
