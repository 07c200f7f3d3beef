"""The reader of a finished cache, which checks every value against the record that committed it.

A FeatureCache opens its files at first use, separately in each process; it may be shared between
threads, pickled, and carried through a fork.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import zstandard

from .disk.files import is_there
from .disk.objects import ObjectPath, fetch, located, refuse_hdf5
from .errors import CorruptCache, IncompleteCache, InputError
from .format.chunks import Array, DamagedFrame, Frame, check_frame, decompress
from .format.content import digest_of_images, image_files
from .format.header import CacheHeader
from .format.manifest import Manifest
from .format.records import SampleEntry, ShardRecord, read_record, record_name
from .format.vectors import Vectors
from .layout import Bucket
from .lookup import Lookup, check_there
from .once import Once
from .open_shards import Location, OpenShard
from .placement import Placement
from .sampler import SampleId
from .stores import store_of
from .wording import counted

if TYPE_CHECKING:
    from .codecs.codec import Codec

# A damaged offset or length in the table makes pread fail with an OSError or an OverflowError.
UNREADABLE = (DamagedFrame, OSError, OverflowError)


@dataclass(frozen=True, slots=True)
class Sample:
    """One image under one view.

    stored: the arrays of each level as the codec keeps them, read-only; several values may share a byte.
    `maps` has their values. cache: where it was read.
    """

    image_id: int
    view: int
    stored: tuple[Array, ...]
    placement: Placement
    cache: FeatureCache = field(repr=False, compare=False)

    @property
    def maps(self) -> tuple[npt.NDArray[np.float32], ...]:
        """The maps as the codec decodes them, (C, H, W) float32 for each level. Imports torch."""
        return self.cache.codec.decode_sample(self.stored, self.placement.canvas_hw)


def check_maps(samples: Sequence[SampleId], maps: Sequence[Array]) -> None:
    """Check that each of `maps` is C-contiguous and has a row for each sample. Raises ValueError."""
    if [len(x) for x in maps if x.flags.c_contiguous] != [len(samples)] * len(maps):
        shapes = [x.shape for x in maps]
        raise ValueError(
            f"expected C-contiguous maps of {counted(len(samples), 'sample')}, got {shapes}"
        )


class FeatureCache:
    """A finished cache, open for reading."""

    def __init__(self, root: Path, header: CacheHeader, manifest: Manifest) -> None:
        self.root = root
        self.header = header
        self.manifest = manifest
        # The shapes of a sample's maps, by canvas.
        self._shapes = {
            bucket.canvas_hw: [
                header.stored_shape(level, bucket) for level in header.key.levels.levels
            ]
            for bucket in header.layout.buckets
        }
        self._lookup = Lookup(root, header, manifest)
        self._local = threading.local()

    @classmethod
    def open(cls, path: str | Path) -> FeatureCache:
        """Open the cache at `path`. Raises InputError (no cache there), IncompleteCache, CorruptCache."""
        root = located(path)
        header = CacheHeader.read(root)
        refuse_hdf5(root, header.store)
        store_of(header.store)
        manifest = Manifest.read(root, header)
        if manifest is None:
            shards = header.layout.shards
            done = sum(is_there(root / record_name(shard.name)) for shard in shards)
            raise IncompleteCache(
                f"{root}: {done} of {counted(len(shards), 'shard is', 'shards are')} written; run "
                "the same command again to finish it"
            )
        return cls(root, header, manifest)

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "header": self.header, "manifest": self.manifest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def name(self) -> str:
        """The path of the cache."""
        return str(self.root)

    @property
    def views(self) -> tuple[str, ...]:
        return self.header.layout.views

    @Once
    def codec(self) -> Codec:
        """Return the codec of the cache, on the CPU. Imports torch. Raises CorruptCache."""
        from .codecs.codec import codec_of

        return codec_of(self.root, self.header.key)

    @Once
    def failed(self) -> dict[int, str]:
        """Return the reason, by image id, for each image that could not be read at extraction.

        Reads every record once.
        """
        if not self.manifest.failed:
            return {}
        failed = {}
        for shard, record in zip(self.header.layout.shards, self._records(), strict=True):
            for slot, why in record.failures.items():
                if not 0 <= slot < len(shard.images) * len(self.views):
                    name = self.root / record_name(shard.name)
                    raise CorruptCache(f"{name}: it has no slot {slot} that could have failed")
                failed[shard.images[slot // len(self.views)].id] = why
        return failed

    def _records(self) -> Iterator[ShardRecord]:
        """Yield the record of each shard in turn."""
        for shard in self.header.layout.shards:
            sha256 = self.manifest.records[shard.name]
            yield read_record(self.root, self.header.id, shard.name, sha256)

    @Once
    def image_files(self) -> dict[int, str]:
        """Return the sha256 of each image's file at extraction, by image id; "" where it was unreadable.

        Reads every table once.
        """
        return image_files(self.root, self.header, self._records())

    @Once
    def content(self) -> str:
        """Return the digest of all image files; where an older cache does not name it, it is computed."""
        return self.manifest.images or digest_of_images(self.image_files)

    @Once
    def image_ids(self) -> tuple[int, ...]:
        """Return the ids of the images that have features here, in the order of their slots."""
        return tuple(i.id for i in self.header.layout.images if i.id not in self.failed)

    def __len__(self) -> int:
        """Return the number of images that have features here."""
        return len(self.image_ids)

    def __iter__(self) -> Iterator[Sample]:
        """Iterate over the plain view of every image."""
        return (self.sample(image_id) for image_id in self.image_ids)

    def sample(self, image_id: int, view: int = 0) -> Sample:
        """Read one sample. Raises MissingSample (unknown or failed image), CorruptCache (damaged bytes)."""
        maps = self.empty_maps(image_id, 1)
        (placement,) = self.read_into([(image_id, view)], maps)
        for x in maps:
            x.flags.writeable = False
        return Sample(image_id, view, tuple(x[0] for x in maps), placement, self)

    def empty_maps(self, image_id: int, count: int) -> list[Array]:
        """Return uninitialised maps for samples of an image's bucket: (count, *stored shape) a level."""
        layout = self.header.layout
        shapes = self._shapes[layout.buckets[layout.bucket_of(image_id)].canvas_hw]
        return [np.empty((count, *shape), self.header.dtype) for shape in shapes]

    def read_into(
        self,
        samples: Sequence[SampleId],
        maps: Sequence[Array],
        rows: Sequence[int] | None = None,
    ) -> list[Placement]:
        """Fill maps[l] (B, *stored shape), C-contiguous, with samples (image id, view) of one bucket.

        rows: the rows of `maps` to fill, one for each sample; by default all, in turn. Raises
        MissingSample, CorruptCache, after which the content of `maps` is undefined. Raises ValueError for
        samples of two buckets, or maps that do not fit them.
        """
        if rows is None:
            check_maps(samples, maps)
            rows = range(len(samples))
        targets = [(x.data.cast("B"), x.nbytes // len(x)) for x in maps]
        decompressor, placements = self._decompressor(), []
        found = self._read(self._locations(samples, maps))
        for row, (shard, location, frames) in zip(rows, found, strict=True):
            for level, (_, _, length, crc32c) in enumerate(location.chunks):
                target, size = targets[level]
                try:
                    raw = decompress(decompressor, next(frames), length, crc32c, size)
                except UNREADABLE as error:
                    raise self._lookup.corrupt(shard, location.slot, level, error) from error
                target[row * size : (row + 1) * size] = raw
            placements.append(location.placement)
        return placements

    def _locations(
        self, samples: Sequence[SampleId], maps: Sequence[Array]
    ) -> Iterator[tuple[OpenShard, Location]]:
        """Yield the location of each sample, checking that all are of one bucket and fit `maps`."""
        here, bucket = self._lookup.here(), None
        for sample in samples:
            shard = self._lookup.shard(here, sample[0])
            if shard.bucket is not bucket:
                self._check_room(sample[0], shard.bucket, bucket, maps)
                bucket = shard.bucket
            yield shard, shard.found.get(sample) or self._lookup.find(shard, *sample)

    def _read(
        self, locations: Iterable[tuple[OpenShard, Location]]
    ) -> Iterator[tuple[OpenShard, Location, Iterator[bytes]]]:
        """Yield each location with an iterator of the bytes of its levels.

        All samples of an object store are requested at once.
        """
        if not isinstance(self.root, ObjectPath):
            for shard, location in locations:
                chunks = location.chunks
                yield shard, location, (os.pread(file, size, at) for file, at, size, _ in chunks)
            return
        found = list(locations)
        wanted = [
            (name, *chunk[1:])
            for shard, location in found
            for name, chunk in zip(shard.names, location.chunks, strict=True)
        ]
        frames = fetch(self.root, wanted)
        for shard, location in found:
            yield shard, location, frames

    def _check_room(
        self, image_id: int, bucket: Bucket, other: Bucket | None, maps: Sequence[Array]
    ) -> None:
        """Check that samples of `bucket` fit into `maps`. other: the bucket of the samples before."""
        if other is not None:
            raise ValueError(f"expected samples of {other.name}, image {image_id} is of another")
        expected, got = self._shapes[bucket.canvas_hw], [x.shape[1:] for x in maps]
        if got != expected:
            raise ValueError(f"room for samples of another bucket: expected {expected}, got {got}")

    def stored(self, image_id: int, view: int = 0) -> tuple[SampleEntry, tuple[Frame, ...]]:
        """Return a sample as it is stored, with its vector, checked. A failed sample has no frames.

        Raises MissingSample (unknown image), CorruptCache.
        """
        shard = self._lookup.shard(self._lookup.here(), image_id)
        slot = self._lookup.slot(shard, image_id, view)
        entry, frames = shard.table.entry(slot), []
        if not entry.ok:
            return entry, ()
        ((_, _, read),) = self._read([(shard, self._lookup.find(shard, image_id, view))])
        for level, chunk in enumerate(entry.chunks):
            try:
                data = next(read)
                check_frame(data, chunk.length, chunk.crc32c)
            except UNREADABLE as error:
                raise self._lookup.corrupt(shard, slot, level, error) from error
            frames.append(Frame(data, chunk.crc32c))
        if self.header.key.image_vector:
            entry = replace(entry, vector=self._lookup.vectors(shard)[slot].tobytes())
        return entry, tuple(frames)

    def vector(self, image_id: int, view: int = 0) -> Vectors:
        """Return the vector (C,) of the image as a whole; raises as `vectors` does."""
        vector: Vectors = self.vectors([(image_id, view)])[0]
        return vector

    def vectors(self, samples: Sequence[SampleId]) -> Vectors:
        """Return the image vectors (B, C) of samples (image id, view), of any buckets.

        Raises InputError where the cache keeps no vectors, MissingSample, CorruptCache.
        """
        spec = self.header.key.image_vector
        if spec is None:
            raise InputError(
                f"{self.root} keeps no image vectors; make one that does with `fdet extract --image-vectors`"
            )
        here = self._lookup.here()
        found = np.empty((len(samples), spec.channels), np.float32)
        for row, (image_id, view) in zip(found, samples, strict=True):
            shard = self._lookup.shard(here, image_id)
            slot = self._lookup.slot(shard, image_id, view)
            check_there(shard, slot)
            row[:] = self._lookup.vectors(shard)[slot]
        return found

    def entry(self, image_id: int, view: int = 0) -> SampleEntry:
        """Return the entry of a sample, failed or not, without its vector; raises as `stored` does."""
        shard = self._lookup.shard(self._lookup.here(), image_id)
        return shard.table.entry(self._lookup.slot(shard, image_id, view))

    def _decompressor(self) -> zstandard.ZstdDecompressor:
        """Return this thread's decompressor: making one costs as much as a small frame."""
        found = getattr(self._local, "decompressor", None)
        if found is None:
            found = self._local.decompressor = zstandard.ZstdDecompressor()
        return found
