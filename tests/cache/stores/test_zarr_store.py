import hashlib
import json
import sys

import numpy as np
import pytest
import zarr

from fdet.cache.errors import MissingSample
from fdet.cache.format.chunks import Frame, compress
from fdet.cache.format.header import CacheHeader
from fdet.cache.reader import FeatureCache
from fdet.cache.stores import STORES
from fdet.cache.stores.zarr_store import ABSENT
from fdet.cache.verify import verify
from fdet.cache.writer import create_cache, seal

from ..handmade import (
    ANNOTATIONS,
    CODECS,
    FEW_CODECS,
    all_samples,
    assert_exact,
    flipped_in,
    learnt,
    level_path,
    make_cache,
    make_header,
    maps_of,
    write_shard,
)
from .foreign import adopt, chunk_at

STORE = STORES["zarr"]


@pytest.fixture(scope="module")
def header() -> CacheHeader:
    return make_header()


def index_of(path, slots: int) -> list[tuple[int, int] | None]:
    """(offset, length) of each frame of a shard file, by the Zarr specification alone."""
    raw = path.read_bytes()
    index = np.frombuffer(raw[-slots * 16 - 4 : -4], dtype="<u8").reshape(slots, 2).tolist()
    return [None if offset == ABSENT else (offset, length - 4) for offset, length in index]


def levels_of(header: CacheHeader):
    """(bucket, number of the level, its spec)."""
    for bucket in header.layout.buckets:
        for number, level in enumerate(header.key.levels.levels):
            yield bucket, number, level


def assert_zarr_reads(cache: FeatureCache) -> None:
    group = zarr.open_group(cache.root, mode="r", zarr_format=3)
    assert group.attrs["fdet_cache"] == cache.header.id
    for bucket, number, level in levels_of(cache.header):
        array = group[f"{bucket.name}/{level.name}"]
        assert array.attrs["stride"] == level.stride
        ids = [(image.id, view) for image in bucket.images for view in (0, 1)]
        written = np.stack([maps_of(cache.header, *one)[number] for one in ids])
        np.testing.assert_array_equal(array[:], written, strict=True)
        np.testing.assert_array_equal(array[1], written[1], strict=True)


@pytest.mark.parametrize("codec", FEW_CODECS)
def test_zarr_reads_every_value_that_we_wrote(tmp_path, codec):
    assert_zarr_reads(make_cache(tmp_path / "a.fdet", make_header(codec)))


def test_zarrs_in_rust_reads_every_value_that_we_wrote(tmp_path, header):
    pytest.importorskip("zarrs")
    cache = make_cache(tmp_path / "a.fdet", header)
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        assert_zarr_reads(cache)


# zarr-python remarks on files beside its own, wherever it lists the root.
@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
@pytest.mark.parametrize("codec", ["fp32", "int8+pca"])
def test_the_tree_is_complete_for_zarr(tmp_path, codec):
    cache = make_cache(tmp_path / "a.fdet", make_header(codec))
    members = dict(zarr.open_group(cache.root, mode="r").members(max_depth=None))
    levels = {f"{b.name}/{n}" for b in cache.header.layout.buckets for n in ("p3", "p4")}
    assert set(members) == levels | {b.name for b in cache.header.layout.buckets}


def test_a_failed_sample_is_nan_to_zarr_and_missing_to_us(tmp_path, header):
    cache = make_cache(tmp_path / "a.fdet", header, failed={17})
    for level in ("p3", "p4"):
        array = zarr.open_array(cache.root / "32x32" / level, mode="r")[:]
        assert np.isnan(array[2:4]).all()
        assert np.isfinite(np.delete(array, [2, 3], axis=0)).all()
    with pytest.raises(MissingSample, match="image 17 failed at extraction: the file is empty"):
        cache.sample(17)


@pytest.mark.parametrize("codec", CODECS)
def test_a_failed_sample_is_the_fill_value_to_zarr(tmp_path, codec):
    cache = make_cache(tmp_path / "a.fdet", make_header(codec), failed={17})
    for level in ("p3", "p4"):
        array = zarr.open_array(cache.root / "32x32" / level, mode="r")
        fill = np.array(cache.header.form.numbers.fill, cache.header.dtype)
        absent = array[2:4]
        assert absent.dtype == fill.dtype and absent.size
        assert absent.tobytes() == np.full_like(absent, fill).tobytes()
        assert array[0].tobytes() == maps_of(cache.header, 10, 0)[level == "p4"].tobytes()


def test_zarr_too_refuses_a_shard_with_any_flipped_bit(tmp_path, header):
    cache = make_cache(tmp_path / "a.fdet", header)
    array = zarr.open_array(cache.root / "16x48" / "p4", mode="r")
    for position in flipped_in(level_path(cache.root, header, 2, "p4")):
        with pytest.raises(ValueError, match=r"[Cc]hecksum"):
            assert array[:] is None, position
    array[:]


def write_with_zarr(root, header: CacheHeader, failed=()) -> None:
    """Every level of every shard as zarr-python writes it into our arrays."""
    for bucket, number, level in levels_of(header):
        array = zarr.open_array(root / bucket.name / level.name, mode="r+")
        ids = [(image.id, view) for image in bucket.images for view in (0, 1)]
        written = [maps_of(header, *one)[number] for one in ids]
        for slot, (image_id, _) in enumerate(ids):
            if image_id in failed:
                written[slot] = np.full_like(written[slot], np.nan)
        array[:] = np.stack(written)


def adopt_all(root, header: CacheHeader) -> FeatureCache:
    for shard in header.layout.shards:
        paths = [level_path(root, header, shard.number, level) for level in ("p3", "p4")]
        slots = header.layout.slots(shard.bucket)
        places = zip(*(index_of(path, slots) for path in paths), strict=True)
        chunks = [
            None
            if None in place
            else tuple(chunk_at(path, *at) for path, at in zip(paths, place, strict=True))
            for place in places
        ]
        adopt(root, header, shard, chunks[: len(header.layout.samples(shard))])
    seal(root, header)
    return FeatureCache.open(root)


@pytest.mark.parametrize("codec", FEW_CODECS)
def test_we_read_every_value_that_zarr_wrote(tmp_path, codec):
    header = create_cache(tmp_path, make_header(codec), ANNOTATIONS, learnt(codec))
    write_with_zarr(tmp_path, header)
    cache = adopt_all(tmp_path, header)
    assert verify(tmp_path).sound
    assert len(all_samples(cache)) == 14
    for sample in all_samples(cache):
        assert_exact(cache, *sample)


def test_what_zarr_left_out_as_nothing_but_nan_is_a_failed_sample_to_us(tmp_path, header):
    header = create_cache(tmp_path, header, ANNOTATIONS)
    write_with_zarr(tmp_path, header, failed={24})
    cache = adopt_all(tmp_path, header)
    assert list(cache.failed) == [24]
    for sample in all_samples(cache):
        assert_exact(cache, *sample)


@pytest.mark.parametrize("failed", [set(), {24}, {10, 24}])
def test_of_the_same_frames_we_make_the_very_file_that_zarr_makes(tmp_path, header, failed):
    # Frame by frame: the zstd inside zarr-python may be of another version than ours.
    header = create_cache(tmp_path / "theirs", header, ANNOTATIONS)
    write_with_zarr(tmp_path / "theirs", header, failed)
    for shard in header.layout.shards:
        paths = [level_path(tmp_path / "theirs", header, shard.number, n) for n in ("p3", "p4")]
        indices = [index_of(path, header.layout.slots(shard.bucket)) for path in paths]
        with STORE.encoder(tmp_path / "ours", header, shard) as encoder:
            for slot, places in enumerate(zip(*indices, strict=True)):
                if None not in places:
                    encoder.add(
                        slot, [frame_at(p, *at) for p, at in zip(paths, places, strict=True)]
                    )
            files = encoder.finish()
        for path in paths:
            name = path.relative_to(tmp_path / "theirs")
            raw = path.read_bytes()
            assert (tmp_path / "ours" / name).read_bytes() == raw
            entry = files[name.as_posix()]
            assert (entry.size, entry.sha256) == (len(raw), hashlib.sha256(raw).hexdigest())


def frame_at(path, offset: int, length: int) -> Frame:
    data = path.read_bytes()[offset : offset + length]
    return Frame(data, chunk_at(path, offset, length).crc32c)


def test_the_places_that_are_told_are_those_of_the_index(tmp_path, header):
    cache = make_cache(tmp_path, header, failed={17})
    for shard in header.layout.shards:
        for number, level in enumerate(("p3", "p4")):
            slots = header.layout.slots(shard.bucket)
            places = index_of(level_path(tmp_path, header, shard.number, level), slots)
            entries = [cache.entry(*sample) for sample in header.layout.samples(shard)]
            told = [e.chunks[number][:2] if e.ok else None for e in entries]
            assert places == told + [None] * (slots - len(told))


def test_the_metadata_is_the_same_every_time(header):
    other_files = STORE.other_files(header)
    assert other_files == STORE.other_files(header)
    assert list(other_files) == sorted(other_files)
    data = json.loads(other_files["16x48/p4/zarr.json"])
    assert (data["shape"], data["dimension_names"][0]) == ([4, 5, 1, 3], "sample")
    assert data["fill_value"] == "NaN"
    assert [codec["name"] for codec in data["codecs"]] == ["sharding_indexed"]
    inner = data["codecs"][0]["configuration"]
    assert [codec["name"] for codec in inner["codecs"]] == ["bytes", "zstd", "crc32c"]
    assert inner["chunk_shape"] == [1, 5, 1, 3]


def test_every_level_of_every_shard_has_a_file_of_its_own(header):
    names = {STORE.level_file(shard, n) for shard in header.layout.shards for n in ("p3", "p4")}
    assert len(names) == 6
    assert "32x32/p3/c.1.0.0.0" in names


def test_a_slot_beyond_the_shard_is_refused_and_leaves_no_file(tmp_path, header):
    shard = header.layout.shards[0]
    frames = [compress(x) for x in maps_of(header, 10, 0)]
    with pytest.raises(IndexError), STORE.encoder(tmp_path, header, shard) as encoder:
        encoder.add(6, frames)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.skipif(sys.byteorder == "big", reason="is about numbers of this machine")
def test_values_beyond_the_ordinary_come_back_bit_by_bit(tmp_path, header):
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38], np.float32)
    header = create_cache(tmp_path, header, ANNOTATIONS)
    for shard in header.layout.shards:
        write_shard(tmp_path, header, shard)
    array = zarr.open_array(tmp_path / "16x48" / "p3", mode="r+")
    value = array[0]
    value[0, 0, :6] = odd
    array[0] = value
    cache = adopt_all(tmp_path, header)
    assert cache.sample(3, 0).stored[0][0, 0, :6].tobytes() == odd.tobytes()
