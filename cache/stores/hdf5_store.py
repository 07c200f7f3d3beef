"""HDF5 shards: one immutable file a shard, one dataset a level, one chunk a sample, zstd and fletcher32.

The file is assembled in memory and published like any other, so the HDF5 library never touches the disk:
killed while it writes, it would leave a file that cannot be opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..disk.files import FileEntry
from ..disk.publish import published
from ..format.chunks import ZSTD_LEVEL, Chunk, Frame, compress_bound
from ..format.header import CacheHeader
from ..layout import Shard

# The format of HDF5 1.10, the oldest whose metadata have checksums throughout. "latest" would change with
# releases of the library, and older ones could not read it.
_FORMAT = ("v110", "v110")
_GROWTH_BYTES = 16 * 2**20
_METADATA_BYTES = 2**16


class Hdf5Store:
    """A store with one file per shard, which any h5py with hdf5plugin reads."""

    def other_files(self, header: CacheHeader) -> Mapping[str, bytes]:
        return {}

    def level_file(self, shard: Shard, level: str) -> str:
        return f"{shard.bucket.name}/{shard.index}.h5"

    @contextmanager
    def encoder(self, root: Path, header: CacheHeader, shard: Shard) -> Iterator[Hdf5Encoder]:
        name, samples = self.level_file(shard, ""), len(header.layout.samples(shard))
        levels = header.key.levels.levels
        bound = sum(compress_bound(header.raw_bytes(level, shard.bucket)) + 64 for level in levels)
        with published(root / name, reserve=samples * bound + _METADATA_BYTES) as file:
            encoder = Hdf5Encoder(name, header, shard)
            try:
                yield encoder
                file.write(encoder.image)
            finally:
                encoder.close()

    def versions(self) -> Mapping[str, str]:
        return {name: version(name) for name in ("zstandard", "h5py")}


class Hdf5Encoder:
    """The datasets of one shard, which are kept in memory until they are complete."""

    def __init__(self, name: str, header: CacheHeader, shard: Shard) -> None:
        import h5py
        from numcodecs import Fletcher32

        self._name, self._checked = name, Fletcher32()
        self.image = b""
        self._file = h5py.File(
            name, "w", driver="core", backing_store=False, libver=_FORMAT, block_size=_GROWTH_BYTES
        )
        self._samples = len(header.layout.samples(shard))
        self._datasets = []
        for level in header.key.levels.levels:
            shape = header.stored_shape(level, shard.bucket)
            dataset = self._create(level.name, (self._samples, *shape), header)
            dataset.attrs.update(stride=level.stride, codec=header.key.codec)
            self._datasets.append(dataset.id)

    def _create(self, name: str, shape: tuple[int, ...], header: CacheHeader) -> Any:
        from h5py import Dataset, h5d, h5p, h5s, h5t, h5z
        from hdf5plugin import Zstd  # importing it registers the filter

        zstd = Zstd(clevel=ZSTD_LEVEL)
        creation = h5p.create(h5p.DATASET_CREATE)
        creation.set_chunk((1, *shape[1:]))
        creation.set_fill_value(np.array(header.form.numbers.fill, header.dtype))
        creation.set_filter(zstd.filter_id, h5z.FLAG_MANDATORY, zstd.filter_options)
        creation.set_fletcher32()
        creation.set_obj_track_times(False)
        stored = h5t.py_create(np.dtype(header.dtype).newbyteorder("<"))
        space = h5s.create_simple(shape)
        return Dataset(h5d.create(self._file.id, name.encode(), stored, space, creation))

    def add(self, slot: int, frames: Sequence[Frame]) -> tuple[Chunk, ...]:
        """Write one sample's frames as chunks. Raises IndexError for a slot that does not exist."""
        if not 0 <= slot < self._samples:
            # The library would write at the position computed for such a chunk, which may be anywhere.
            raise IndexError(f"{self._name}: slot {slot}, expected 0 to {self._samples - 1}")
        chunks = []
        for dataset, frame in zip(self._datasets, frames, strict=True):
            at = (slot, 0, 0, 0)
            dataset.write_direct_chunk(at, self._checked.encode(frame.data))
            offset = dataset.get_chunk_info_by_coord(at).byte_offset
            chunks.append(Chunk(offset, len(frame.data), frame.crc32c))
        return tuple(chunks)

    def finish(self) -> dict[str, FileEntry]:
        self._file.flush()
        self.image = self._file.id.get_file_image()
        self.close()
        entry = FileEntry(len(self.image), hashlib.sha256(self.image).hexdigest())
        return {self._name: entry}

    def close(self) -> None:
        """Release the memory."""
        self._datasets.clear()
        self._file.close()
