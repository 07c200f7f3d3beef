"""Two caches side by side: every sample has the maps of both, and what does not match is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fdet.cache.codecs.codec import plain_codec
from fdet.cache.errors import CorruptCache, InputError, KeyMismatch
from fdet.cache.format.records import SampleEntry
from fdet.cache.joined import JoinedCache
from fdet.cache.layout import Bucket, Layout
from fdet.cache.loader import BatchReader, load_batch, load_batches
from fdet.cache.pairs import PairedCache, PairedCodec
from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from fdet.cache.reader import FeatureCache
from fdet.cache.resident import ResidentSamples, resident_bytes
from fdet.cache.sampler import Sampler
from fdet.cache.writer import create_cache, seal

from .handmade import (
    ANNOTATIONS,
    entry_of,
    level_path,
    make_cache,
    make_header,
    maps_of,
    samples_of,
    write_samples,
)

CPU = torch.device("cpu")
OTHERS = PyramidSpec((LevelSpec("block11", 16, 4),))


def second_header(store="hdf5", layout=None, **changes):
    """Of another backbone, codec and level, with other shards."""
    header = make_header("fp16", store, backbone="vit", levels=OTHERS, seed=5)
    layout = layout or header.layout
    buckets = tuple(replace(b, images_per_shard=2) for b in layout.buckets)
    layout = Layout(changes.get("views", layout.views), buckets)
    return replace(header, key=replace(header.key, **changes), layout=layout)


@pytest.fixture
def first(tmp_path):
    return make_cache(tmp_path / "a.fdet", make_header())


@pytest.fixture
def second(tmp_path):
    return make_cache(tmp_path / "b.fdet", second_header())


def without(layout, image_id):
    buckets = (
        replace(b, images=tuple(i for i in b.images if i.id != image_id)) for b in layout.buckets
    )
    return Layout(layout.views, tuple(buckets))


def all_samples(cache):
    return [[(i, v)] for i in cache.image_ids for v in range(len(cache.views))]


def test_every_sample_has_the_maps_of_both(first, second):
    pair = PairedCache(first, second)
    for ((image_id, view),) in all_samples(first):
        batch = load_batch(pair, [(image_id, view)])
        expected = [maps_of(of.header, image_id, view) for of in (first, second)]
        for x, y in zip(batch.maps, [*expected[0], *expected[1]], strict=True):
            np.testing.assert_array_equal(x[0].numpy(), y, strict=True)
        assert batch.placements == (entry_of(first.header, image_id, view).placement,)


@pytest.mark.parametrize("workers", [1, 3])
def test_kept_in_memory_they_are_the_same(workers, first, second):
    pair = PairedCache(first, second)
    headers = first.header, second.header
    room = ResidentSamples(first.header, CPU, second.header)
    assert sum(x.nbytes for b in room._maps for x in b) == resident_bytes(*headers)
    assert resident_bytes(*headers) == sum(map(resident_bytes, headers))
    sampler = Sampler(first.header.layout, first.image_ids, 2, 0, epochs=4)
    for epoch in range(4):
        batches = sampler.batches(epoch)
        kept = load_batches(BatchReader(pair, resident=room), batches, workers=workers)
        for one, other in zip(kept, load_batches(BatchReader(pair), batches), strict=True):
            assert (one.samples, one.placements) == (other.samples, other.placements)
            assert all(map(torch.equal, one.maps, other.maps))


def test_the_codec_gives_one_pyramid_finest_first(first, second):
    codec = PairedCodec(plain_codec("fp32", first.header.key.levels), plain_codec("fp16", OTHERS))
    batch = load_batch(PairedCache(first, second), [(10, 1), (17, 0)])
    pyramid = batch.decode(codec, CPU)
    assert pyramid.spec.names == ("p3", "p4", "b.block11")
    assert pyramid.spec.strides == (8, 16, 16)
    for x, stored in zip(pyramid.maps, batch.maps, strict=True):
        assert x.dtype == torch.float32 and torch.equal(x, stored.float())
    for x, stored in zip(codec.encode(pyramid), batch.maps, strict=True):
        assert x.dtype == stored.dtype and torch.equal(x, stored)


def test_levels_of_a_finer_second_backbone_come_first():
    fine = PyramidSpec((LevelSpec("c1", 2, 3), LevelSpec("c4", 16, 7)))
    mine = make_header().key.levels
    both = mine.joined_with(fine)
    assert both.names == ("b.c1", "p3", "p4", "b.c4")
    assert both.parted() == (mine.levels, (both.levels[0], both.levels[3]))
    pyramids = [
        FeaturePyramid(s, tuple(torch.rand(2, *v.shape((32, 48))) for v in s.levels), (32, 48))
        for s in (mine, fine)
    ]
    maps = pyramids[0].joined_with(pyramids[1]).only(["b.c1", "p4"]).maps
    assert maps[0] is pyramids[1].maps[0] and maps[1] is pyramids[0].maps[1]
    with pytest.raises(ValueError, match=r"level b\.c1: no level of a first backbone"):
        both.joined_with(fine)


def test_the_second_may_have_more_images_and_the_first_several_parts(second, tmp_path):
    layout = make_header().layout
    buckets = layout.buckets
    parts = [
        make_cache(
            tmp_path / f"part{k}.fdet",
            replace(make_header(), layout=Layout(layout.views, (replace(buckets[k]),))),
        )
        for k in (1,)
    ]
    extra = replace(buckets[0], images_per_shard=2, images=buckets[0].images[:2])
    parts.append(
        make_cache(
            tmp_path / "more.fdet", replace(make_header(), layout=Layout(layout.views, (extra,)))
        )
    )
    pair = PairedCache(JoinedCache(parts), second)
    ids = [image.id for image in pair.header.layout.images]
    assert ids == [3, 4, 10, 17]
    for image_id in ids:
        batch = load_batch(pair, [(image_id, 1)])
        np.testing.assert_array_equal(batch.maps[2][0], maps_of(second.header, image_id, 1)[0])


def test_an_image_that_either_could_not_read_has_failed(tmp_path):
    pair = PairedCache(
        make_cache(tmp_path / "a", make_header(), failed=(10,)),
        make_cache(tmp_path / "b", second_header(), failed=(3,)),
    )
    assert pair.failed == {10: "the file is empty", 3: "the file is empty"}


def test_a_second_cache_that_lacks_an_image_is_refused(first, tmp_path):
    other = make_cache(tmp_path / "b", second_header(layout=without(make_header().layout, 24)))
    with pytest.raises(KeyMismatch, match=r"b lacks 1 of the 7 images of .*a\.fdet, e\.g\. id 24"):
        PairedCache(first, other)
    assert len(PairedCache(other, first).header.layout.images) == 6


def test_other_views_are_refused(first, tmp_path):
    other = make_cache(tmp_path / "b", second_header(views=("plain", "vflip")))
    with pytest.raises(KeyMismatch, match="plain, hflip in the first, plain, vflip in the second"):
        PairedCache(first, other)


def changed_image(layout, **changes):
    """The first one of the first bucket."""
    bucket, *rest = layout.buckets
    image = replace(bucket.images[0], **changes)
    return Layout(layout.views, (replace(bucket, images=(image, *bucket.images[1:])), *rest))


@pytest.mark.parametrize("changes", [{"file_name": "x.png"}, {"hw": (31, 32)}], ids=str)
def test_an_id_of_another_image_is_refused(changes, first, tmp_path):
    layout = changed_image(make_header().layout, **changes)
    other = make_cache(tmp_path / "b", second_header(layout=layout))
    with pytest.raises(KeyMismatch, match=r"image id 10 is 0\.png \(30, 32\) in .*different data"):
        PairedCache(first, other)


def test_another_canvas_is_refused(first, tmp_path):
    square, wide = make_header().layout.buckets
    layout = Layout(("plain", "hflip"), (Bucket((48, 48), 3, square.images), wide))
    other = make_cache(tmp_path / "b", second_header(layout=layout, short=48))
    with pytest.raises(KeyMismatch, match=r"canvas of \(32, 32\) px in .* of \(48, 48\) in"):
        PairedCache(first, other)


def test_another_placement_is_refused_when_it_is_read(first, tmp_path):
    """The canvas is the same, and the image lies on it otherwise, as random views of another seed do."""
    header = create_cache(tmp_path / "b", second_header(), ANNOTATIONS)
    for shard in header.layout.shards:
        samples = [(shifted(entry), maps) for entry, maps in samples_of(header, shard)]
        write_samples(tmp_path / "b", header, shard, samples)
    seal(tmp_path / "b", header)
    pair = PairedCache(first, FeatureCache.open(tmp_path / "b"))
    assert len(load_batch(pair, [(10, 0), (17, 0)]).samples) == 2
    with pytest.raises(KeyMismatch, match=r"do not show the same: image 17, view hflip.*--seed"):
        load_batch(pair, [(10, 0), (17, 1)])


def shifted(entry) -> SampleEntry:
    if (entry.image_id, entry.view) != (17, 1):
        return entry
    return replace(entry, placement=replace(entry.placement, shift=(1.0, 0.0)))


@pytest.mark.parametrize("which", [0, 1])
def test_damage_in_either_is_named_and_skipped(which, first, second):
    cache, level = ((first, "p4"), (second, "block11"))[which]
    shard = cache.header.layout.shard_of(10)
    path = level_path(cache.root, cache.header, shard, level)
    raw = bytearray(path.read_bytes())
    names = cache.header.key.levels.names
    raw[cache.entry(10).chunks[names.index(level)].offset + 3] ^= 1
    path.write_bytes(raw)
    pair = PairedCache(first, second)
    with pytest.raises(CorruptCache, match=rf"{cache.root.name}/.*level {level}.*image 10, view 0"):
        load_batch(pair, [(10, 0), (17, 0)])
    reader = BatchReader(pair, on_corrupt="skip")
    assert reader.read([(10, 0), (17, 0)]).samples == ((17, 0),)


def test_a_name_that_cannot_be_told_from_the_seconds_is_refused(second, tmp_path):
    levels = PyramidSpec((LevelSpec("b.c3", 8, 3),))
    odd = make_cache(tmp_path / "a", make_header(levels=levels))
    with pytest.raises(InputError, match=r"level b\.c3"):
        PairedCache(odd, second)
