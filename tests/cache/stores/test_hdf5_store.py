import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import h5py
import hdf5plugin
import numpy as np
import pytest
from numcodecs import Fletcher32

from fdet.cache.errors import MissingSample
from fdet.cache.format.chunks import compress
from fdet.cache.format.header import CacheHeader
from fdet.cache.reader import FeatureCache
from fdet.cache.stores import STORES
from fdet.cache.verify import verify
from fdet.cache.writer import create_cache, seal

from ..handmade import (
    ANNOTATIONS,
    CODECS,
    FEW_CODECS,
    all_samples,
    assert_exact,
    files_below,
    flipped_in,
    learnt,
    level_path,
    make_cache,
    make_header,
    maps_of,
    write_shard,
)
from .foreign import adopt, chunk_at

STORE = STORES["hdf5"]

ALONE = """
import sys
from pathlib import Path
from fdet.tests.cache.handmade import *
make_cache(Path(sys.argv[1]), make_header(store="hdf5"))
"""


@pytest.fixture(scope="module")
def header() -> CacheHeader:
    return make_header(store="hdf5")


def shard_file(root, header, number: int):
    return level_path(root, header, number, "")


def written(header, shard, level: int) -> np.ndarray:
    return np.stack([maps_of(header, *one)[level] for one in header.layout.samples(shard)])


@pytest.mark.parametrize("codec", FEW_CODECS)
def test_h5py_reads_every_value_that_we_wrote(tmp_path, codec):
    header = make_cache(tmp_path, make_header(codec, "hdf5")).header
    for shard in header.layout.shards:
        with h5py.File(shard_file(tmp_path, header, shard.number), "r") as file:
            assert list(file) == ["p3", "p4"]
            for number, level in enumerate(header.key.levels.levels):
                dataset = file[level.name]
                expected = written(header, shard, number)
                np.testing.assert_array_equal(dataset[:], expected, strict=True)
                np.testing.assert_array_equal(dataset[1], expected[1], strict=True)
                assert dataset.chunks == (1, *expected.shape[1:])
                assert dataset.fletcher32
                assert str(hdf5plugin.Zstd.filter_id) in dataset._filters
                fill = np.array(header.form.numbers.fill, header.dtype)
                assert np.array(dataset.fillvalue, dataset.dtype).tobytes() == fill.tobytes()
                assert dict(dataset.attrs) == {"stride": level.stride, "codec": header.key.codec}


def test_a_failed_sample_is_nan_to_h5py_and_missing_to_us(tmp_path, header):
    cache = make_cache(tmp_path, header, failed={17})
    with h5py.File(shard_file(tmp_path, header, 0), "r") as file:
        for level in ("p3", "p4"):
            assert np.isnan(file[level][2:4]).all()
            assert np.isfinite(np.delete(file[level][:], [2, 3], axis=0)).all()
    with pytest.raises(MissingSample, match="image 17 failed at extraction: the file is empty"):
        cache.sample(17)


@pytest.mark.parametrize("codec", CODECS)
def test_a_failed_sample_is_the_fill_value_to_h5py(tmp_path, codec):
    header = make_cache(tmp_path, make_header(codec, "hdf5"), failed={17}).header
    fill = np.array(header.form.numbers.fill, header.dtype)
    with h5py.File(shard_file(tmp_path, header, 0), "r") as file:
        for number, level in enumerate(("p3", "p4")):
            absent = file[level][2:4]
            assert absent.dtype == fill.dtype and absent.size
            assert absent.tobytes() == np.full_like(absent, fill).tobytes()
            assert file[level][0].tobytes() == maps_of(header, 10, 0)[number].tobytes()


def test_h5py_too_refuses_a_sample_with_any_flipped_bit(tmp_path, header):
    cache = make_cache(tmp_path, header)
    path, (image_id, view) = (
        shard_file(tmp_path, header, 2),
        header.layout.samples(header.layout.shards[2])[1],
    )
    chunk = cache.entry(image_id, view).chunks[1]
    for position in flipped_in(path):
        if chunk.offset <= position < chunk.offset + chunk.length + 4:
            with h5py.File(path, "r") as file:
                with pytest.raises(OSError, match="filter"):
                    assert file["p4"][1] is None, position
                assert file["p4"][0].tobytes() == maps_of(header, 3, 0)[1].tobytes()


def test_the_places_that_are_told_are_those_of_the_file(tmp_path, header):
    cache = make_cache(tmp_path, header, failed={17})
    for shard in header.layout.shards:
        path = shard_file(tmp_path, header, shard.number)
        with h5py.File(path, "r") as file:
            for number, level in enumerate(("p3", "p4")):
                for slot, sample in enumerate(header.layout.samples(shard)):
                    entry = cache.entry(*sample)
                    info = file[level].id.get_chunk_info_by_coord((slot, 0, 0, 0))
                    if not entry.ok:
                        assert info.byte_offset is None
                        continue
                    chunk = entry.chunks[number]
                    assert (info.byte_offset, info.size) == (chunk.offset, chunk.length + 4)
                    assert info.filter_mask == 0
                    assert chunk == chunk_at(path, info.byte_offset, info.size - 4)


def write_with_h5py(path, header, shard, **options) -> list:
    """A shard by h5py's high-level functions; the places of its frames by slot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    zstd = hdf5plugin.Zstd(clevel=1)
    with h5py.File(path, "w", **options) as file:
        for number, level in enumerate(("p3", "p4")):
            maps = written(header, shard, number)
            file.create_dataset(
                level,
                data=maps,
                chunks=(1, *maps.shape[1:]),
                fillvalue=header.form.numbers.fill,
                fletcher32=True,
                **zstd,
            )
    with h5py.File(path, "r") as file:
        infos = [
            [file[level].id.get_chunk_info_by_coord((slot, 0, 0, 0)) for level in ("p3", "p4")]
            for slot in range(len(header.layout.samples(shard)))
        ]
    return [tuple(chunk_at(path, i.byte_offset, i.size - 4) for i in one) for one in infos]


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("codec", FEW_CODECS)
def test_we_read_every_value_that_h5py_wrote(tmp_path, codec, libver):
    header = create_cache(tmp_path, make_header(codec, "hdf5"), ANNOTATIONS, learnt(codec))
    for shard in header.layout.shards:
        path = shard_file(tmp_path, header, shard.number)
        adopt(tmp_path, header, shard, write_with_h5py(path, header, shard, libver=libver))
    seal(tmp_path, header)
    assert verify(tmp_path).sound
    cache = FeatureCache.open(tmp_path)
    assert len(all_samples(cache)) == 14
    for sample in all_samples(cache):
        assert_exact(cache, *sample)


def test_the_chunks_are_those_that_h5py_makes_of_the_same_frames(tmp_path, header):
    header = make_cache(tmp_path, header).header
    shard = header.layout.shards[0]
    theirs = tmp_path / "theirs.h5"
    write_with_h5py(theirs, header, shard)
    with h5py.File(theirs, "r+") as file, h5py.File(shard_file(tmp_path, header, 0), "r") as ours:
        for number, level in enumerate(("p3", "p4")):
            for slot, sample in enumerate(header.layout.samples(shard)):
                frame = compress(maps_of(header, *sample)[number]).data
                stored = Fletcher32().encode(frame)
                assert ours[level].id.read_direct_chunk((slot, 0, 0, 0)) == (0, stored)
                file[level].id.write_direct_chunk((slot, 0, 0, 0), stored)
                np.testing.assert_array_equal(file[level][slot], maps_of(header, *sample)[number])


def test_no_clock_goes_into_the_file(tmp_path, header):
    for name in ("a", "b"):
        write_shard(tmp_path / name, header, header.layout.shards[0])
        time.sleep(1.1)  # HDF5 counts seconds
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b")


def test_a_process_that_imports_nothing_but_the_writer_makes_the_same_bytes(tmp_path, header):
    make_cache(tmp_path / "here", header)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, tmp_path / "there"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert files_below(tmp_path / "here") == files_below(tmp_path / "there")


def test_threads_that_write_shards_at_once_make_the_same_bytes(tmp_path, header):
    make_cache(tmp_path / "one", header)
    create_cache(tmp_path / "four", header, ANNOTATIONS)
    with ThreadPoolExecutor(4) as pool:
        shards = header.layout.shards
        list(pool.map(lambda shard: write_shard(tmp_path / "four", header, shard), shards))
    seal(tmp_path / "four", create_cache(tmp_path / "four", header, ANNOTATIONS))
    assert files_below(tmp_path / "one") == files_below(tmp_path / "four")


def test_all_levels_of_a_shard_share_a_file(header):
    shard = header.layout.shards[1]
    assert {STORE.level_file(shard, level) for level in ("p3", "p4")} == {"32x32/1.h5"}


def open_objects() -> int:
    return h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_ALL)


def fail_in(root, header, shard, frames) -> None:
    with STORE.encoder(root, header, shard) as encoder:
        encoder.add(0, frames)
        raise RuntimeError


def test_a_block_that_raises_leaves_no_file_and_no_memory(tmp_path, header):
    shard, before = header.layout.shards[0], open_objects()
    with pytest.raises(RuntimeError):
        fail_in(tmp_path, header, shard, [compress(x) for x in maps_of(header, 10, 0)])
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    assert open_objects() == before
    write_shard(tmp_path, header, shard)
    assert open_objects() == before


# HDF5 2.0 corrupts the memory of the process when a chunk beyond a dataset is written.
@pytest.mark.parametrize(("number", "slot"), [(0, 6), (0, -1), (1, 4), (1, 5)])
def test_a_slot_beyond_the_shard_is_refused_before_the_library_sees_it(
    tmp_path, header, number, slot
):
    shard = header.layout.shards[number]
    frames = [compress(x) for x in maps_of(header, 31, 0)]
    with (
        pytest.raises((IndexError, ValueError)),
        STORE.encoder(tmp_path, header, shard) as encoder,
    ):
        encoder.add(slot, frames)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def stored_checksum(data: bytes) -> int:
    """What HDF5's own filter puts behind these bytes."""
    with h5py.File("checksum", "w", driver="core", backing_store=False) as file:
        values = np.frombuffer(data, np.uint8)
        dataset = file.create_dataset("x", data=values, chunks=values.shape, fletcher32=True)
        raw = dataset.id.read_direct_chunk((0,))[1]
    assert raw[:-4] == data
    return int.from_bytes(raw[-4:], "little")


def checksum(data: bytes) -> int:
    """As the store writes it."""
    return int.from_bytes(Fletcher32().encode(data)[-4:], "little")


def noise(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


SIZES = [*range(1, 71), 717, 718, 719, 720, 721, 1440, 65535, 65536, 131070, 131071]


@pytest.mark.parametrize("make", [bytes, noise, lambda size: b"\xff" * size])
def test_the_checksum_is_that_of_the_library(make):
    for size in SIZES:
        assert checksum(make(size)) == stored_checksum(make(size)), size


@pytest.mark.parametrize("size", [2**21 - 2, 2**21, 2**21 + 3, 5 * 2**20 + 1])
@pytest.mark.parametrize("make", [bytes, noise, lambda size: b"\xff" * size])
def test_the_checksum_of_a_long_chunk_is_that_of_the_library(make, size):
    assert checksum(make(size)) == stored_checksum(make(size))
