"""Zarr v3 arrays: one a bucket and level, one inner chunk a sample, zstd and crc32c inside the shard.

The metadata are written by zarr-python itself. The shards are encoded here, byte for byte as the Zarr v3
sharding codec prescribes, because zarr-python reads a missing chunk as its fill value, never calls fsync,
and spends ten times the disk's time in Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np

from ..disk.files import FileEntry
from ..disk.publish import published
from ..format.chunks import ZSTD_LEVEL, Chunk, Frame, compress_bound
from ..format.header import CacheHeader
from ..layout import Shard

ABSENT = 2**64 - 1
_CRC_BYTES = 4


class ZarrStore:
    """A store with one file per level and shard; any Zarr v3 reader opens the cache's folder."""

    def other_files(self, header: CacheHeader) -> Mapping[str, bytes]:
        """Return the metadata of the group and of every array, as zarr-python writes them."""
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
                shape = header.stored_shape(level, bucket)
                root.create_array(
                    f"{bucket.name}/{level.name}",
                    shape=(samples, *shape),
                    shards=(header.layout.slots(bucket), *shape),
                    chunks=(1, *shape),
                    dtype=header.dtype,
                    compressors=[ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
                    fill_value=np.dtype(header.dtype).type(header.form.numbers.fill),
                    chunk_key_encoding={"name": "default", "separator": "."},
                    dimension_names=("sample", "channel", "row", "column"),
                    attributes={"stride": level.stride, "codec": header.key.codec},
                )

        async def collect() -> dict[str, bytes]:
            names = [name async for name in store.list()]
            prototype = default_buffer_prototype()
            buffers = {name: await store.get(name, prototype) for name in sorted(names)}
            return {name: b.to_bytes() for name, b in buffers.items() if b is not None}

        return sync(collect())

    def level_file(self, shard: Shard, level: str) -> str:
        """Return Zarr's default chunk key with "." as the separator, so that a shard needs no folder."""
        return f"{shard.bucket.name}/{level}/c.{shard.index}.0.0.0"

    @contextmanager
    def encoder(self, root: Path, header: CacheHeader, shard: Shard) -> Iterator[ZarrEncoder]:
        slots, used = header.layout.slots(shard.bucket), len(header.layout.samples(shard))
        files: dict[str, _LevelFile] = {}
        with ExitStack() as stack:
            for level in header.key.levels.levels:
                name = self.level_file(shard, level.name)
                bound = compress_bound(header.raw_bytes(level, shard.bucket)) + _CRC_BYTES
                reserve = used * bound + slots * 16 + _CRC_BYTES
                file = stack.enter_context(published(root / name, reserve=reserve))
                files[name] = _LevelFile(file, slots)
            yield ZarrEncoder(files)

    def versions(self) -> Mapping[str, str]:
        return {name: version(name) for name in ("zstandard", "zarr")}


class ZarrEncoder:
    """The level files of one shard."""

    def __init__(self, files: Mapping[str, _LevelFile]) -> None:
        self._files = files

    def add(self, slot: int, frames: Sequence[Frame]) -> tuple[Chunk, ...]:
        levels = zip(self._files.values(), frames, strict=True)
        return tuple(file.add(slot, frame) for file, frame in levels)

    def finish(self) -> dict[str, FileEntry]:
        return {name: file.finish() for name, file in self._files.items()}


class _LevelFile:
    """The file of one level: frame after frame, each with its checksum, then the index.

    Every byte is hashed as it is written, so the digest in the record costs no second read.
    """

    def __init__(self, file: BinaryIO, slots: int) -> None:
        self._file = file
        self._index = np.full((slots, 2), ABSENT, dtype="<u8")
        self._length = 0
        self._hash = hashlib.sha256()

    def add(self, slot: int, frame: Frame) -> Chunk:
        chunk = Chunk(self._length, len(frame.data), frame.crc32c)
        self._index[slot] = (chunk.offset, chunk.length + _CRC_BYTES)
        self._write(frame.data)
        self._write(frame.crc32c.to_bytes(_CRC_BYTES, "little"))
        return chunk

    def finish(self) -> FileEntry:
        index = self._index.tobytes()
        self._write(index)
        self._write(int(google_crc32c.value(index)).to_bytes(_CRC_BYTES, "little"))
        return FileEntry(self._length, self._hash.hexdigest())

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._length += len(data)
