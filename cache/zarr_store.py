"""Zarr v3 arrays: one a bucket and level, one inner chunk a sample, zstd and crc32c inside the shard.

The metadata is written by zarr-python itself. Shards are encoded and read here, byte for byte what
the Zarr v3 sharding codec prescribes, because zarr-python spends ten times the disk's time in Python
and reads a missing chunk as its fill value.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np
import numpy.typing as npt
import zstandard

from .errors import CorruptCache
from .header import CacheHeader
from .layout import Bucket, Shard
from .publish import publish_bytes
from .records import FileEntry

Array = npt.NDArray[np.generic]

ZSTD_LEVEL = 3
ABSENT = 2**64 - 1
_CRC_BYTES = 4


def create_arrays(root: Path, header: CacheHeader) -> None:
    """Publish the metadata of the groups and of one array a bucket and level."""
    for name, data in _metadata(header).items():
        publish_bytes(root / name, data)


def _metadata(header: CacheHeader) -> dict[str, bytes]:
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync
    from zarr.storage import MemoryStore

    store = MemoryStore()
    root = zarr.create_group(store, zarr_format=3, attributes={"fdet_cache": header.id})
    for bucket in header.layout.buckets:
        samples = len(bucket.images) * len(header.layout.views)
        for level in header.key.levels.levels:
            shape = level.shape(bucket.canvas_hw)
            root.create_array(
                f"{bucket.name}/{level.name}",
                shape=(samples, *shape),
                shards=(bucket.images_per_shard * len(header.layout.views), *shape),
                chunks=(1, *shape),
                dtype=header.dtype,
                compressors=[ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
                fill_value=float("nan"),
                dimension_names=("sample", "channel", "row", "column"),
                attributes={"stride": level.stride, "codec": header.key.codec},
            )

    async def collect() -> dict[str, bytes]:
        names = [name async for name in store.list()]
        prototype = default_buffer_prototype()
        buffers = {name: await store.get(name, prototype) for name in sorted(names)}
        return {name: b.to_bytes() for name, b in buffers.items() if b is not None}

    return sync(collect())


def shard_path(root: Path, shard: Shard, level: str) -> Path:
    """Where Zarr's default chunk key puts one level of a shard."""
    return root / shard.bucket.name / level / "c" / str(shard.index) / "0" / "0" / "0"


class ShardEncoder:
    """Writes one level of one shard, slot after slot, then its index.

    Every byte that goes out is hashed on its way, so the record's digest costs no second read.
    """

    def __init__(self, file: BinaryIO, slots: int) -> None:
        self._file = file
        self._index = np.full((slots, 2), ABSENT, dtype="<u8")
        self._length = 0
        self._hash = hashlib.sha256()
        self._compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)

    def add(self, slot: int, sample: Array) -> int:
        """Append (C, H, W) in the stored type; returns the crc32c of its chunk."""
        compressed = self._compressor.compress(np.ascontiguousarray(sample).data.cast("B"))
        checksum = int(google_crc32c.value(compressed))
        self._index[slot] = (self._length, len(compressed) + _CRC_BYTES)
        self._write(compressed)
        self._write(checksum.to_bytes(_CRC_BYTES, "little"))
        return checksum

    def finish(self) -> FileEntry:
        """Append the index; the file is complete then."""
        index = self._index.tobytes()
        self._write(index)
        self._write(int(google_crc32c.value(index)).to_bytes(_CRC_BYTES, "little"))
        return FileEntry(self._length, self._hash.hexdigest())

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._length += len(data)


class ShardReader:
    """Reads samples of one level of one shard; safe to share between threads (pread only)."""

    def __init__(
        self, root: Path, shard: Shard, level: str, slots: int, shape: tuple[int, ...], dtype: str
    ) -> None:
        self._path = shard_path(root, shard, level)
        self._where = f"shard {shard.name}, level {level}"
        self._shape = shape
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._bytes = int(np.prod(shape)) * self._dtype.itemsize
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise CorruptCache(f"{self._path}: {error.strerror} ({self._where})") from error
        # Closed with its last user: a descriptor closed under a reading thread may be another file.
        weakref.finalize(self, os.close, self._descriptor)
        self._index = self._read_index(slots)

    def _read_index(self, slots: int) -> npt.NDArray[np.uint64]:
        length = slots * 16
        self._size = os.fstat(self._descriptor).st_size
        raw = self._pread(length + _CRC_BYTES, max(0, self._size - length - _CRC_BYTES))
        if len(raw) != length + _CRC_BYTES or not _checksum_holds(raw):
            raise CorruptCache(f"{self._path}: the shard's index is damaged ({self._where})")
        return np.frombuffer(raw[:length], dtype="<u8").reshape(slots, 2)

    def read(self, slot: int, checksum: int) -> Array:
        """(C, H, W) in the stored type, read-only; `checksum` as the shard's samples file names it.

        Raises CorruptCache.
        """
        offset, length = (int(v) for v in self._index[slot])
        if ABSENT in (offset, length):
            raise self._corrupt(slot, "its chunk is absent although it was committed")
        if length > self._bytes + self._bytes // 128 + 1024 or offset > self._size:
            raise self._corrupt(slot, f"its chunk claims {length} bytes at {offset}")
        raw = self._pread(length, offset)
        if len(raw) != length or not _checksum_holds(raw):
            raise self._corrupt(slot, "its checksum does not hold")
        if int.from_bytes(raw[-_CRC_BYTES:], "little") != checksum:
            raise self._corrupt(slot, "its chunk is sound but belongs to another sample")
        return self._decompress(slot, raw[:-_CRC_BYTES])

    def _decompress(self, slot: int, compressed: bytes) -> Array:
        try:
            # zstandard ignores max_output_size for a frame that declares its size: look first.
            if zstandard.frame_content_size(compressed) != self._bytes:
                raise self._corrupt(slot, f"it does not decompress to {self._bytes} bytes")
            raw = zstandard.ZstdDecompressor().decompress(compressed)
        except zstandard.ZstdError as error:
            raise self._corrupt(slot, str(error)) from error
        return np.frombuffer(raw, dtype=self._dtype).reshape(self._shape)

    def _pread(self, length: int, offset: int) -> bytes:
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise CorruptCache(f"{self._path}: {error.strerror} ({self._where})") from error

    def _corrupt(self, slot: int, why: str) -> CorruptCache:
        return CorruptCache(f"{self._path}: {self._where}, slot {slot}: {why}")


def slots_per_shard(bucket: Bucket, views: int) -> int:
    """Slots in the index of every shard of a bucket, the last and shorter one included."""
    return bucket.images_per_shard * views


def _checksum_holds(raw: bytes) -> bool:
    return int(google_crc32c.value(raw[:-_CRC_BYTES])).to_bytes(4, "little") == raw[-_CRC_BYTES:]
