"""Reading a whole cache: every value is checked against the record that committed it.

A FeatureCache opens its files at first use, in each process by itself; it may be shared between
threads, pickled, and carried through a fork.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zstandard

from .disk.files import is_there, open_below
from .disk.objects import ObjectPath, fetch, located, refuse_hdf5
from .errors import CorruptCache, IncompleteCache, InputError, MissingSample, StorageError
from .format.chunks import Array, DamagedFrame, Frame, check_frame, compress_bound, decompress
from .format.content import digest_of_images, image_files
from .format.header import CacheHeader
from .format.manifest import Manifest
from .format.records import (
    SampleEntry,
    SampleTable,
    ShardRecord,
    read_record,
    read_samples,
    record_name,
    samples_name,
)
from .format.vectors import Vectors, read_vectors
from .layout import Bucket, Shard
from .once import Once
from .placement import Placement
from .sampler import SampleId
from .stores import store_of

# Of all caches of a process together: each has a descriptor or two, and a process may have 1,024.
OPEN_SHARDS = 64
# Of an object store nothing is open, but a table that is read again costs two requests.
KNOWN_SHARDS = 2**14
# A place in the table that no file has makes pread fail in its own ways.
UNREADABLE = (DamagedFrame, OSError, OverflowError)


@dataclass(frozen=True, slots=True)
class Sample:
    """One image under one view, as stored: maps[l] (*stored shape), read-only.

    The cache's codec (cache/codecs/codec.py) turns the maps into floats.
    """

    image_id: int
    view: int
    maps: tuple[Array, ...]
    placement: Placement


class _Place(NamedTuple):
    """Where a sample lies: chunks[l] (descriptor, offset, length, crc32c); -1 for an object's descriptor."""

    slot: int
    placement: Placement
    chunks: tuple[tuple[int, int, int, int], ...]


class _OpenShard:
    """A shard's table and open files; closed with its last user. vectors: once they were asked for."""

    def __init__(
        self,
        shard: Shard,
        record: ShardRecord,
        table: SampleTable,
        names: list[str],
        files: list[int],
    ) -> None:
        self.shard, self.bucket, self.record, self.table = shard, shard.bucket, record, table
        self.names, self.files = names, files
        self.vectors: Vectors | None = None
        self.found: dict[SampleId, _Place] = {}
        self.used = 0
        self.has_files = set(files) != {-1}
        # A descriptor closed under a reading thread may be another file by then.
        weakref.finalize(self, _close, set(files) - {-1})


def check_room_for(samples: Sequence[SampleId], maps: Sequence[Array]) -> None:
    """Raises ValueError unless each of `maps` is C-contiguous and has a row for each sample."""
    if [len(x) for x in maps if x.flags.c_contiguous] != [len(samples)] * len(maps):
        shapes = [x.shape for x in maps]
        raise ValueError(f"expected C-contiguous maps of {len(samples)} samples, got {shapes}")


def _close(descriptors: set[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class _OpenShards:
    """What one process has open of a cache; never taken over through a fork.

    used: when each was last looked up, by a clock that all caches of the process share. A shard that is
    looked up may be pushed out in the same moment by another thread: it stays open for whoever holds it.
    """

    def __init__(self) -> None:
        self.process, self.now = os.getpid(), 0
        self.shards: dict[int, _OpenShard] = {}


class _Process:
    """All shards with open files of this process, of all its caches together."""

    def __init__(self) -> None:
        self.clock = itertools.count(1)
        self.lock = threading.Lock()
        self.caches: weakref.WeakSet[_OpenShards] = weakref.WeakSet()

    def take(self, here: _OpenShards, number: int, shard: _OpenShard) -> _OpenShard:
        """One more; the one that was used longest ago may go for it, whosever it is."""
        with self.lock:
            if not shard.has_files:
                caches, most = [here], KNOWN_SHARDS
            else:
                self.caches.add(here)
                caches, most = list(self.caches), OPEN_SHARDS
            here.shards.pop(number, None)
            while sum(len(one.shards) for one in caches) >= most:
                owner = min(
                    (one for one in caches if one.shards),
                    key=lambda one: min(shard.used for shard in one.shards.values()),
                )
                owner.shards.pop(min(owner.shards, key=lambda k: owner.shards[k].used))
            here.shards[number] = shard
        return shard


_process = _Process()


def _forked() -> None:
    """A child shares nothing with its parent, whose lock another thread may have held."""
    global _process
    _process = _Process()


os.register_at_fork(after_in_child=_forked)


class FeatureCache:
    """A finished cache, open for reading."""

    def __init__(self, root: Path, header: CacheHeader, manifest: Manifest) -> None:
        self.root = root
        self.header = header
        self.manifest = manifest
        # Of a sample's maps, by canvas.
        self._shapes = {
            bucket.canvas_hw: [
                header.stored_shape(level, bucket) for level in header.key.levels.levels
            ]
            for bucket in header.layout.buckets
        }
        self._open = _OpenShards()
        self._local = threading.local()

    @classmethod
    def open(cls, path: str | Path) -> FeatureCache:
        """Raises InputError (no cache there), IncompleteCache, CorruptCache."""
        root = located(path)
        header = CacheHeader.read(root)
        refuse_hdf5(root, header.store)
        store_of(header.store)
        manifest = Manifest.read(root, header)
        if manifest is None:
            shards = header.layout.shards
            done = sum(is_there(root / record_name(shard.name)) for shard in shards)
            raise IncompleteCache(
                f"{root}: {done} of {len(shards)} shards are written; run the same command again to "
                "finish it"
            )
        return cls(root, header, manifest)

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "header": self.header, "manifest": self.manifest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.root)

    @property
    def views(self) -> tuple[str, ...]:
        return self.header.layout.views

    @Once
    def failed(self) -> dict[int, str]:
        """Why, by image id, for the images that could not be read; reads every record once."""
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
        """Of the shards, in turn."""
        for shard in self.header.layout.shards:
            sha256 = self.manifest.records[shard.name]
            yield read_record(self.root, self.header.id, shard.name, sha256)

    @Once
    def image_files(self) -> dict[int, str]:
        """The sha256 of each image's file at extraction, by image id, "" where it could not be read; reads
        every table once.
        """
        return image_files(self.root, self.header, self._records())

    @Once
    def content(self) -> str:
        """The digest of all these files; of a cache that was made before there was one they are read."""
        return self.manifest.images or digest_of_images(self.image_files)

    @Once
    def image_ids(self) -> tuple[int, ...]:
        """The images whose features are here, in the order of their slots."""
        return tuple(i.id for i in self.header.layout.images if i.id not in self.failed)

    def __len__(self) -> int:
        """The number of images whose features are here."""
        return len(self.image_ids)

    def __iter__(self) -> Iterator[Sample]:
        """The plain view of every image."""
        return (self.sample(image_id) for image_id in self.image_ids)

    def sample(self, image_id: int, view: int = 0) -> Sample:
        """Raises MissingSample (unknown or failed image), CorruptCache (damaged bytes)."""
        maps = self.empty_maps(image_id, 1)
        (placement,) = self.read_into([(image_id, view)], maps)
        for x in maps:
            x.flags.writeable = False
        return Sample(image_id, view, tuple(x[0] for x in maps), placement)

    def empty_maps(self, image_id: int, count: int) -> list[Array]:
        """Room for `count` samples of the bucket of an image: one (count, *stored shape) a level."""
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

        rows: those of `maps` that are filled, one a sample; by default all, in turn. Raises
        MissingSample, CorruptCache; what `maps` hold then is undefined. ValueError for samples of
        two buckets, or maps that are no room for them.
        """
        if rows is None:
            check_room_for(samples, maps)
            rows = range(len(samples))
        targets = [(x.data.cast("B"), x.nbytes // len(x)) for x in maps]
        decompressor, placements = self._decompressor(), []
        found = self._read(self._places(samples, maps))
        for row, (shard, place, frames) in zip(rows, found, strict=True):
            for level, (_, _, length, crc32c) in enumerate(place.chunks):
                target, size = targets[level]
                try:
                    raw = decompress(decompressor, next(frames), length, crc32c, size)
                except UNREADABLE as error:
                    raise self._corrupt(shard, place.slot, level, error) from error
                target[row * size : (row + 1) * size] = raw
            placements.append(place.placement)
        return placements

    def _places(
        self, samples: Sequence[SampleId], maps: Sequence[Array]
    ) -> Iterator[tuple[_OpenShard, _Place]]:
        """Where each of some samples of one bucket lies, which `maps` have room for."""
        here, bucket = self._here(), None
        for sample in samples:
            shard = self._shard(here, sample[0])
            if shard.bucket is not bucket:
                self._check_room(sample[0], shard.bucket, bucket, maps)
                bucket = shard.bucket
            yield shard, shard.found.get(sample) or self._find(shard, *sample)

    def _read(
        self, places: Iterable[tuple[_OpenShard, _Place]]
    ) -> Iterator[tuple[_OpenShard, _Place, Iterator[bytes]]]:
        """With the bytes of each level as they come; those of an object store are all under way at once."""
        if not isinstance(self.root, ObjectPath):
            for shard, place in places:
                chunks = place.chunks
                yield shard, place, (os.pread(file, size, at) for file, at, size, _ in chunks)
            return
        found = list(places)
        wanted = [
            (name, *chunk[1:])
            for shard, place in found
            for name, chunk in zip(shard.names, place.chunks, strict=True)
        ]
        frames = fetch(self.root, wanted)
        for shard, place in found:
            yield shard, place, frames

    def _check_room(
        self, image_id: int, bucket: Bucket, other: Bucket | None, maps: Sequence[Array]
    ) -> None:
        """That samples of `bucket` fit into `maps`; `other`: the bucket of those before."""
        if other is not None:
            raise ValueError(f"expected samples of {other.name}, image {image_id} is of another")
        expected, got = self._shapes[bucket.canvas_hw], [x.shape[1:] for x in maps]
        if got != expected:
            raise ValueError(f"room for samples of another bucket: expected {expected}, got {got}")

    def stored(self, image_id: int, view: int = 0) -> tuple[SampleEntry, tuple[Frame, ...]]:
        """A sample as it lies on the disk, with its vector, checked; no frames where it failed.

        Raises MissingSample (unknown image), CorruptCache.
        """
        shard = self._shard(self._here(), image_id)
        slot = self._slot(shard, image_id, view)
        entry, frames = shard.table.entry(slot), []
        if not entry.ok:
            return entry, ()
        ((_, _, read),) = self._read([(shard, self._find(shard, image_id, view))])
        for level, chunk in enumerate(entry.chunks):
            try:
                data = next(read)
                check_frame(data, chunk.length, chunk.crc32c)
            except UNREADABLE as error:
                raise self._corrupt(shard, slot, level, error) from error
            frames.append(Frame(data, chunk.crc32c))
        if self.header.key.image_vector:
            entry = replace(entry, vector=self._vectors(shard)[slot].tobytes())
        return entry, tuple(frames)

    def vector(self, image_id: int, view: int = 0) -> Vectors:
        """(C,) of the image as a whole; raises as `vectors` does."""
        vector: Vectors = self.vectors([(image_id, view)])[0]
        return vector

    def vectors(self, samples: Sequence[SampleId]) -> Vectors:
        """(B, C) of samples (image id, view), of any buckets.

        Raises InputError where the cache keeps none, MissingSample, CorruptCache.
        """
        spec = self.header.key.image_vector
        if spec is None:
            raise InputError(
                f"{self.root} keeps no image vectors; make one that does with `fdet extract --image-vectors`"
            )
        here = self._here()
        found = np.empty((len(samples), spec.channels), np.float32)
        for row, (image_id, view) in zip(found, samples, strict=True):
            shard = self._shard(here, image_id)
            slot = self._slot(shard, image_id, view)
            self._check_there(shard, slot)
            row[:] = self._vectors(shard)[slot]
        return found

    def _vectors(self, shard: _OpenShard) -> Vectors:
        if shard.vectors is None:
            spec = self.header.key.image_vector
            assert spec is not None
            shard.vectors = read_vectors(self.root, shard.record, shard.table.ok, spec)
        return shard.vectors

    @staticmethod
    def _check_there(shard: _OpenShard, slot: int) -> None:
        if not shard.table.ok[slot]:
            image_id, _ = shard.table.samples[slot]
            raise MissingSample(
                f"image {image_id} failed at extraction: {shard.table.failure(slot)}"
            )

    def entry(self, image_id: int, view: int = 0) -> SampleEntry:
        """What the cache knows of a sample, failed or not, but for its vector; raises as `stored` does."""
        shard = self._shard(self._here(), image_id)
        return shard.table.entry(self._slot(shard, image_id, view))

    def _find(self, shard: _OpenShard, image_id: int, view: int) -> _Place:
        """Looked up and checked once for each time that the shard is opened."""
        slot = self._slot(shard, image_id, view)
        self._check_there(shard, slot)
        self._check_lengths(shard, slot)
        chunks = zip(shard.files, shard.table.chunks[slot], strict=True)
        found = _Place(
            slot, shard.table.placement(slot), tuple((file, *chunk) for file, chunk in chunks)
        )
        shard.found[image_id, view] = found
        return found

    def _slot(self, shard: _OpenShard, image_id: int, view: int) -> int:
        _, slot = self.header.layout.locate(image_id, view)
        if shard.table.samples[slot] != (image_id, view):
            raise CorruptCache(
                f"{self.root}: slot {slot} of shard {shard.shard.name} names another sample than "
                f"image {image_id}, view {view}"
            )
        return slot

    def _check_lengths(self, shard: _OpenShard, slot: int) -> None:
        """Before anything of that length is read into memory."""
        for level, (_, length, _) in enumerate(shard.table.chunks[slot]):
            spec = self.header.key.levels.levels[level]
            if length > compress_bound(self.header.raw_bytes(spec, shard.bucket)):
                error = DamagedFrame(f"no frame of such a map has {length} bytes")
                raise self._corrupt(shard, slot, level, error)

    def _here(self) -> _OpenShards:
        """What this process has open, one call later."""
        if self._open.process != os.getpid():
            # Forked, perhaps while another thread of the parent held the lock. In one assignment:
            # another thread of ours may be here too.
            self._open = _OpenShards()
        self._open.now = next(_process.clock)
        return self._open

    def _shard(self, here: _OpenShards, image_id: int) -> _OpenShard:
        number = self.header.layout.shard_of(image_id)
        found = here.shards.get(number)
        if found is None:
            opened = self._open_shard(self.header.layout.shards[number])
            opened.used = here.now
            found = _process.take(here, number, opened)
        found.used = here.now
        return found

    def _open_shard(self, shard: Shard) -> _OpenShard:
        levels = self.header.key.levels.names
        record = read_record(
            self.root, self.header.id, shard.name, self.manifest.records[shard.name]
        )
        slots = len(shard.images) * len(self.views)
        table = read_samples(self.root, record, len(levels), slots)
        hws = np.repeat([image.hw for image in shard.images], len(self.views), axis=0)
        if not table.shows(hws, shard.bucket.canvas_hw):
            raise CorruptCache(
                f"{self.root / samples_name(shard.name)}: its placements are not of the images and "
                f"the canvas of shard {shard.name}"
            )
        names = [store_of(self.header.store).level_file(shard, level) for level in levels]
        if isinstance(self.root, ObjectPath):
            return _OpenShard(shard, record, table, names, [-1] * len(names))
        opened: dict[str, int] = {}
        try:
            for name in dict.fromkeys(names):
                opened[name] = open_below(self.root, name)
        except (CorruptCache, StorageError) as error:
            _close(set(opened.values()))
            raise type(error)(f"{error} (shard {shard.name})") from error
        return _OpenShard(shard, record, table, names, [opened[name] for name in names])

    def _decompressor(self) -> zstandard.ZstdDecompressor:
        """One a thread: making one costs as much as a small frame."""
        found = getattr(self._local, "decompressor", None)
        if found is None:
            found = self._local.decompressor = zstandard.ZstdDecompressor()
        return found

    def _corrupt(self, shard: _OpenShard, slot: int, level: int, error: Exception) -> CorruptCache:
        image_id, view = shard.table.samples[slot]
        return CorruptCache(
            f"{self.root / shard.names[level]}: shard {shard.shard.name}, level "
            f"{self.header.key.levels.names[level]}, slot {slot} (image {image_id}, view {view}): "
            f"{error}"
        )
