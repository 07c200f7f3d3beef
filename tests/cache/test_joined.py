"""Several caches read as one: every sample is that of its own cache, and strangers are refused."""

import shutil
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest

from fdet.cache.errors import CorruptCache, IncompleteCache, InputError, KeyMismatch, MissingSample
from fdet.cache.format.header import CacheHeader
from fdet.cache.joined import JoinedCache, open_caches
from fdet.cache.key import CacheKey
from fdet.cache.layout import Bucket, ImageEntry, Layout
from fdet.cache.loader import BatchReader, load_batch, load_batches
from fdet.cache.reader import FeatureCache
from fdet.cache.sampler import Sampler, plain_batches
from fdet.cache.stores import STORES

from .handmade import VECTOR, entry_of, level_path, make_cache, make_header, maps_of

SQUARE, WIDE = (32, 32), (16, 48)


def part_header(store="zarr", squares=(), wides=(), per_shard=2, **changes) -> CacheHeader:
    """Images of these ids, in one bucket or two."""
    buckets = [
        Bucket(hw, min(per_shard, len(ids)), tuple(ImageEntry(i, f"{i}.png", hw) for i in ids))
        for hw, ids in ((SQUARE, squares), (WIDE, wides))
        if ids
    ]
    header = make_header(store=store)
    key = replace(header.key, **changes)
    return replace(header, key=key, layout=Layout(key.views, tuple(buckets)))


@pytest.fixture
def parts(tmp_path):
    """Three: of two stores, with one bucket or two, and shards of different size."""
    headers = [
        part_header("zarr", squares=(10, 11, 12, 13, 14), wides=(30,)),
        part_header("hdf5", wides=(40, 41), per_shard=3),
        part_header("zarr", wides=(50,), squares=(20, 21), per_shard=1, seed=7),
    ]
    failed = [(), (41,), (21,)]
    return [
        make_cache(tmp_path / f"{k}.fdet", header, failed[k]) for k, header in enumerate(headers)
    ]


@pytest.fixture
def joined(parts):
    return JoinedCache(parts)


def owner_of(joined, image_id):
    return next(p for p in joined.parts if image_id in p.header.layout)


def readable(joined):
    return [i.id for i in joined.header.layout.images if i.id not in joined.failed]


def test_buckets_of_one_canvas_are_merged_in_the_order_of_the_parts(joined):
    buckets = {b.canvas_hw: [i.id for i in b.images] for b in joined.header.layout.buckets}
    assert buckets == {SQUARE: [10, 11, 12, 13, 14, 20, 21], WIDE: [30, 40, 41, 50]}
    assert joined.header.layout.views == ("plain", "hflip")


@pytest.mark.parametrize("view", [0, 1])
def test_every_sample_and_placement_is_that_of_its_own_cache(view, joined):
    for image_id in readable(joined):
        header = owner_of(joined, image_id).header
        batch = load_batch(joined, [(image_id, view)])
        for x, expected in zip(batch.maps, maps_of(header, image_id, view), strict=True):
            assert np.array_equal(x[0].numpy(), expected)
        assert batch.placements == (entry_of(header, image_id, view).placement,)


def test_a_batch_mixes_the_parts(joined):
    samples = [(20, 1), (10, 0), (14, 1), (20, 0)]
    batch = load_batch(joined, samples)
    assert (batch.samples, batch.canvas_hw) == (tuple(samples), SQUARE)
    for row, sample in enumerate(samples):
        alone = load_batch(joined, [sample])
        assert batch.placements[row] == alone.placements[0]
        for x, y in zip(batch.maps, alone.maps, strict=True):
            assert x[row].equal(y[0])


@pytest.mark.parametrize("window", [0, 1, 3, 100])
def test_an_epoch_draws_each_image_of_every_part_once(window, joined):
    ids = readable(joined)
    sampler = Sampler(joined.header.layout, ids, 3, 0, 3, window)
    batches = [batch for epoch in range(3) for batch in sampler.batches(epoch)]
    loaded = list(load_batches(BatchReader(joined), batches, workers=2))
    assert Counter(i for batch in loaded for i, _ in batch.samples) == dict.fromkeys(ids, 3)
    mixed = any(len({owner_of(joined, i).root for i, _ in b.samples}) > 1 for b in loaded)
    assert mixed or window in (1, 3)


def test_the_shards_are_those_that_lie_on_the_disk(joined):
    ids = {tuple(image.id for image in shard.images) for shard in joined.header.layout.shards}
    assert ids == {(10, 11), (12, 13), (14,), (30,), (40, 41), (50,), (20,), (21,)}
    numbers = [shard.number for shard in joined.header.layout.shards]
    assert numbers == list(range(8))


@pytest.mark.parametrize("window", [1, 3])
def test_a_window_is_of_whole_shards_of_the_parts(window, joined):
    """No more files are in use at a time than the window has shards."""

    def shard_of(image_id: int) -> tuple[str, int]:
        part = owner_of(joined, image_id)
        return part.root.name, part.header.layout.shard_of(image_id)

    sampler = Sampler(joined.header.layout, readable(joined), 1, 0, 5, window)
    for epoch in range(5):
        batches = sampler.batches(epoch)
        order = list(dict.fromkeys(shard_of(i) for batch in batches for i, _ in batch))
        seen = [{shard_of(i) for i, _ in batch} for batch in batches]
        for k, shard in enumerate(order):
            first, last = (f([n for n, s in enumerate(seen) if shard in s]) for f in (min, max))
            at_once = set().union(*seen[first : last + 1])
            assert len(at_once) <= window, (k, at_once)


def test_rows_that_are_not_side_by_side_are_filled_from_their_parts(joined):
    samples = [(20, 1), (10, 0), (20, 0), (14, 1), (10, 0)]
    maps = joined.empty_maps(10, 5)
    placements = joined.read_into(samples, maps)
    for row, sample in enumerate(samples):
        header = owner_of(joined, sample[0]).header
        assert placements[row] == entry_of(header, *sample).placement
        for x, expected in zip(maps, maps_of(header, *sample), strict=True):
            np.testing.assert_array_equal(x[row], expected, strict=True)


@pytest.mark.parametrize("count", [1, 3])
def test_room_for_another_number_of_samples_is_refused(joined, count):
    with pytest.raises(ValueError, match="maps of 2 samples"):
        joined.read_into([(10, 0), (20, 0)], joined.empty_maps(10, count))


def test_failed_images_are_those_of_all_parts(joined):
    assert joined.failed == {41: "the file is empty", 21: "the file is empty"}
    for image_id in joined.failed:
        with pytest.raises(MissingSample, match=f"image {image_id} failed at extraction"):
            load_batch(joined, [(image_id, 0)])


@pytest.mark.parametrize("samples", [[(999, 0)], [(10, 0), (999, 0)], [(10, 2)]], ids=str)
def test_what_no_part_holds_is_missing(samples, joined):
    with pytest.raises(MissingSample):
        load_batch(joined, samples)


def test_samples_of_two_buckets_are_refused_even_where_they_have_as_many_bytes(tmp_path):
    tall = Bucket((64, 16), 1, (ImageEntry(60, "60.png", (64, 16)),))
    header = replace(part_header(), layout=Layout(("plain", "hflip"), (tall,)))
    caches = [
        make_cache(tmp_path / "a", part_header(squares=(1,))),
        make_cache(tmp_path / "b", header),
    ]
    with pytest.raises(ValueError, match="samples of"):
        load_batch(JoinedCache(caches), [(1, 0), (60, 0)])


def test_the_id_is_another_than_any_parts(joined, parts):
    swapped = JoinedCache([parts[1], parts[0], parts[2]])
    ids = {joined.header.id, swapped.header.id, *(p.header.id for p in parts)}
    assert len(ids) == 5


def test_damage_in_one_part_is_named_and_spares_the_others(joined, parts):
    path = level_path(parts[1].root, parts[1].header, 0, "p4")
    chunk = parts[1].entry(40).chunks[1]
    raw = bytearray(path.read_bytes())
    raw[chunk.offset + 3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CorruptCache, match=r"1\.fdet/.* level p4, slot 0 \(image 40, view 0\)"):
        load_batch(joined, [(30, 0), (40, 0)])
    reader = BatchReader(joined, on_corrupt="skip")
    assert reader.read([(30, 0), (40, 0), (50, 0)]).samples == ((30, 0), (50, 0))


KEPT_APART = {"views", "codec", "calibration"}
OTHERS = {
    "image_vector": VECTOR,
    "mean": (0.0, 0.0, 0.0),
    "std": (1.0, 1.0, 1.0),
    "square": True,
    "bits": 12,
    "views": ("plain", "vflip"),
    "codec": "fp16",
    "converted": ("fp32",),
    "levels": replace(make_header().key.levels, levels=make_header().key.levels.levels[:1]),
}


def other_value(name):
    value = getattr(make_header().key, name)
    return OTHERS.get(name, value + 16 if isinstance(value, int) else f"{value}x")


@pytest.mark.parametrize(
    "field", [f for f in fields(CacheKey) if f.name != "calibration"], ids=lambda field: field.name
)
def test_fields_that_a_head_sees_must_agree_and_no_others(field, tmp_path):
    first = make_cache(tmp_path / "a", part_header(squares=(1, 2)))
    header = part_header(squares=(3,), **{field.name: other_value(field.name)})
    other = make_cache(tmp_path / "b", header)
    if not (field.metadata.get("pairs") or field.name in KEPT_APART):
        assert readable(JoinedCache([first, other])) == [1, 2, 3]
        return
    with pytest.raises(KeyMismatch, match=f"cannot be read as one: {field.name}: ") as caught:
        JoinedCache([first, other])
    assert f"{tmp_path / 'a'} (here) and {tmp_path / 'b'} (there)" in str(caught.value)


def test_every_differing_field_is_named(tmp_path):
    first = make_cache(tmp_path / "a", part_header(squares=(1,)))
    header = part_header(squares=(3,), short=33, codec="fp16", precision="bf16")
    other = make_cache(tmp_path / "b", header)
    with pytest.raises(KeyMismatch) as caught:
        JoinedCache([first, other])
    for said in ("short: 32 here, 33 there", "codec: fp32 here, fp16", "precision: fp32 here"):
        assert said in str(caught.value)


def test_the_third_part_is_held_against_the_first_too(parts, tmp_path):
    stranger = make_cache(tmp_path / "x", part_header(squares=(90,), backbone="resnet18"))
    with pytest.raises(KeyMismatch, match=r"0\.fdet \(here\).*backbone: lite0 here, resnet18"):
        JoinedCache([*parts, stranger])


@pytest.mark.parametrize("store", STORES)
def test_an_id_that_stands_in_two_parts_is_refused(store, parts, tmp_path):
    twice = make_cache(tmp_path / "x", part_header(store, squares=(70, 14)))
    with pytest.raises(InputError, match=r"image id 14 is in both .*0\.fdet and .*x"):
        JoinedCache([*parts, twice])


def test_a_cache_and_itself_are_refused(parts):
    roots = [parts[0].root, parts[0].root]
    with pytest.raises(InputError, match="image id 10 is in both"):
        open_caches(roots)


def test_one_path_is_a_cache_and_several_are_one(parts):
    assert isinstance(open_caches([parts[0].root]), FeatureCache)
    joined = open_caches([p.root for p in parts])
    assert isinstance(joined, JoinedCache)
    assert [p.root for p in joined.parts] == [p.root for p in parts]


def test_a_part_that_is_not_whole_is_refused(parts, tmp_path):
    broken = shutil.copytree(parts[2].root, tmp_path / "broken")
    (broken / "manifest.json").unlink()
    with pytest.raises(IncompleteCache, match="broken"):
        open_caches([parts[0].root, broken])
    with pytest.raises(InputError, match="is not a cache"):
        open_caches([parts[0].root, tmp_path / "absent"])


def test_plain_batches_keep_the_order_of_the_parts(joined):
    batches = plain_batches(joined.header.layout, readable(joined), 100)
    assert batches == [
        [(i, 0) for i in (10, 11, 12, 13, 14, 20)],
        [(i, 0) for i in (30, 40, 50)],
    ]
