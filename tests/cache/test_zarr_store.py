import hashlib
import io
import json
import shutil
import tracemalloc

import google_crc32c
import numpy as np
import pytest
import zarr
import zstandard

from fdet.cache.errors import CorruptCache, MissingSample
from fdet.cache.reader import FeatureCache
from fdet.cache.stores.zarr_store import (
    ShardEncoder,
    ShardReader,
    create_arrays,
    shard_path,
    slots_per_shard,
)

from .handmade import files_below, make_cache, make_header, maps_of

SHAPE = (3, 4, 4)


def crc(raw: bytes) -> bytes:
    return google_crc32c.value(raw).to_bytes(4, "little")


def shard_file(root, header, chunks: dict[int, bytes], index=None):
    """A shard of 6 slots with these stored chunks (checksum included), sound but for them."""
    table, body = np.full((6, 2), 2**64 - 1, dtype="<u8"), b""
    for slot, chunk in chunks.items():
        table[slot] = (len(body), len(chunk))
        body += chunk
    table = table if index is None else np.array(index, dtype="<u8")
    path = shard_path(root, header.layout.shards[0], "p3")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body + table.tobytes() + crc(table.tobytes()))


def reader_of(root, header, shard: int = 0, level: int = 0) -> ShardReader:
    spec, shard = header.key.levels.levels[level], header.layout.shards[shard]
    shape = spec.shape(shard.bucket.canvas_hw)
    return ShardReader(root, shard, spec.name, 6, shape, header.dtype)


def stored_checksums(path, slots: int) -> list[int]:
    """crc32c at the end of each chunk of a shard file, found by nothing but the Zarr spec."""
    raw = path.read_bytes()
    index = np.frombuffer(raw[-slots * 16 - 4 : -4], dtype="<u8").reshape(slots, 2)
    ends = [None if offset == 2**64 - 1 else int(offset + length) for offset, length in index]
    return [-1 if end is None else int.from_bytes(raw[end - 4 : end], "little") for end in ends]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_zarr_reads_every_value_that_we_wrote(tmp_path, dtype):
    cache = make_cache(tmp_path / "a.fdet", make_header(dtype))
    group = zarr.open_group(cache.root, mode="r", zarr_format=3)
    assert group.attrs["fdet_cache"] == cache.header.id
    for bucket in cache.header.layout.buckets:
        for number, level in enumerate(cache.header.key.levels.levels):
            array = group[f"{bucket.name}/{level.name}"]
            assert array.dtype == dtype
            assert array.attrs["stride"] == level.stride
            ids = [(image.id, view) for image in bucket.images for view in (0, 1)]
            written = np.stack([maps_of(cache.header, *one)[number] for one in ids])
            read = np.stack([cache.sample(*one).maps[number] for one in ids])
            np.testing.assert_array_equal(array[:], written, strict=True)
            np.testing.assert_array_equal(read, written, strict=True)


# zarr-python remarks on files beside its own, wherever it lists the root.
@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_the_tree_is_complete_for_zarr(whole):
    members = dict(zarr.open_group(whole.root, mode="r").members(max_depth=None))
    levels = {f"{b.name}/{n}" for b in whole.header.layout.buckets for n in ("p3", "p4")}
    assert set(members) == levels | {b.name for b in whole.header.layout.buckets}


def test_a_failed_sample_is_nan_to_zarr_and_missing_to_us(tmp_path, header):
    cache = make_cache(tmp_path / "a.fdet", header, failed={17})
    array = zarr.open_array(cache.root / "32x32" / "p3", mode="r")[:]
    assert np.isnan(array[2:4]).all()
    assert np.isfinite(np.delete(array, [2, 3], axis=0)).all()
    with pytest.raises(MissingSample, match="image 17 failed at extraction: the file is empty"):
        cache.sample(17)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_we_read_a_shard_that_zarr_wrote(tmp_path, dtype):
    header = make_header(dtype)
    create_arrays(tmp_path, header)
    for shard in header.layout.shards:
        for number, level in enumerate(header.key.levels.levels):
            array = zarr.open_array(tmp_path / shard.bucket.name / level.name, mode="r+")
            ids = [(image.id, view) for image in shard.images for view in (0, 1)]
            written = [maps_of(header, *one)[number] for one in ids]
            first = shard.index * 6
            array[first : first + len(ids)] = np.stack(written)
            reader = reader_of(tmp_path, header, shard.number, number)
            checksums = stored_checksums(shard_path(tmp_path, shard, level.name), 6)
            for slot, one in enumerate(written):
                np.testing.assert_array_equal(reader.read(slot, checksums[slot]), one, strict=True)


def test_the_metadata_is_the_same_every_time(tmp_path, header):
    for name in ("a", "b"):
        create_arrays(tmp_path / name, header)
    create_arrays(tmp_path / "a", header)
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b")
    data = json.loads((tmp_path / "a" / "16x48" / "p4" / "zarr.json").read_bytes())
    assert data["shape"] == [4, 5, 1, 3]


def test_the_encoder_states_length_digest_and_checksums(tmp_path):
    file = io.BytesIO()
    encoder = ShardEncoder(file, 2)
    checksum = encoder.add(1, np.ones((2, 3, 4), np.float32))
    entry = encoder.finish()
    raw = file.getvalue()
    assert (entry.bytes, entry.sha256) == (len(raw), hashlib.sha256(raw).hexdigest())
    (tmp_path / "shard").write_bytes(raw)
    assert stored_checksums(tmp_path / "shard", 2) == [-1, checksum]


def test_the_last_shard_of_a_bucket_has_as_many_slots_as_the_others(header):
    assert [slots_per_shard(shard.bucket, 2) for shard in header.layout.shards] == [6, 6, 6]


def test_what_was_read_cannot_be_written(whole):
    with pytest.raises(ValueError, match="read-only"):
        whole.sample(10).maps[0][:] = 0


def test_absent_is_not_zero_and_not_nan(tmp_path, header):
    shard_file(tmp_path, header, {})
    with pytest.raises(CorruptCache, match=r"32x32-0, level p3, slot 4: its chunk is absent"):
        reader_of(tmp_path, header).read(4, 0)


def bomb(size: int) -> bytes:
    """A chunk with a checksum that holds, and the frame of `size` zero bytes."""
    frame = zstandard.ZstdCompressor(level=3).compress(bytes(size))
    return frame + crc(frame)


@pytest.mark.parametrize("size", [2**24, 193, 191, 0])
def test_a_frame_of_another_size_is_refused_before_it_takes_memory(tmp_path, header, size):
    chunk = bomb(size)
    shard_file(tmp_path, header, {0: chunk})
    reader = reader_of(tmp_path, header)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptCache, match=r"slot 0: it does not decompress to 192 bytes"):
            reader.read(0, int.from_bytes(chunk[-4:], "little"))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def undeclared() -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(bytes(192))


def lying() -> bytes:
    """A frame that claims 192 bytes and holds 200."""
    frame = bytearray(zstandard.ZstdCompressor().compress(bytes(200)))
    assert frame[5] == 200
    frame[5] = 192
    return bytes(frame)


@pytest.mark.parametrize(
    "frame", [b"", b"\0", b"no frame at all", undeclared(), lying(), bomb(192)[:-6]]
)
def test_a_chunk_that_is_no_such_frame_is_corrupt_though_its_checksum_holds(
    tmp_path, header, frame
):
    shard_file(tmp_path, header, {0: frame + crc(frame)})
    with pytest.raises(CorruptCache, match=r"32x32-0, level p3, slot 0"):
        reader_of(tmp_path, header).read(0, google_crc32c.value(frame))


@pytest.mark.parametrize(
    "place", [(0, 2**40), (2**63, 20), (2**64 - 2, 20), (2**40, 20), (0, 0), (0, 3), (3, 2**64 - 2)]
)
def test_an_index_that_points_nowhere_is_corrupt_though_its_checksum_holds(tmp_path, header, place):
    chunk = bomb(192)
    shard_file(tmp_path, header, {0: chunk}, index=[place] * 6)
    with pytest.raises(CorruptCache, match=r"32x32-0, level p3, slot 0"):
        reader_of(tmp_path, header).read(0, int.from_bytes(chunk[-4:], "little"))


def test_a_sound_chunk_of_another_sample_is_refused(tmp_path, header):
    chunk = bomb(192)
    shard_file(tmp_path, header, {0: chunk})
    with pytest.raises(CorruptCache, match="slot 0: its chunk is sound but belongs to another"):
        reader_of(tmp_path, header).read(0, int.from_bytes(chunk[-4:], "little") ^ 1)


def test_a_folder_in_place_of_a_shard_is_corrupt(root):
    path = root / "32x32" / "p3" / "c" / "0" / "0" / "0" / "0"
    path.unlink()
    path.mkdir()
    with pytest.raises(CorruptCache, match="directory"):
        FeatureCache.open(root).sample(10)


def test_a_copied_tree_is_the_same_cache(root, whole, tmp_path):
    shutil.move(root, tmp_path / "moved")
    assert files_below(tmp_path / "moved") == files_below(whole.root)
    assert len(FeatureCache.open(tmp_path / "moved")) == 7
