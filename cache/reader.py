"""Reading a whole cache: every value is checked against the record that committed it.

A FeatureCache opens its files at first use, in each process by itself; it may be shared between
threads, pickled, and carried through a fork.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from .chunks import Array, DamagedFrame, Frame, check_frame, compress_bound, decompress
from .errors import CorruptCache, IncompleteCache, MissingSample, StorageError
from .files import open_below
from .header import CacheHeader
from .layout import Shard
from .manifest import Manifest
from .placement import Placement
from .records import SampleEntry, SampleTable, read_record, read_samples, record_name, samples_name
from .stores import store_of

OPEN_SHARDS = 64
# A place in the table that no file has makes pread fail in its own ways.
UNREADABLE = (DamagedFrame, OSError, OverflowError)


@dataclass(frozen=True, slots=True)
class Sample:
    """One image under one view, as stored: maps[l] (C_l, H_l, W_l), read-only.

    The codec of the cache's key turns the maps into floats.
    """

    image_id: int
    view: int
    maps: tuple[Array, ...]
    placement: Placement


class _OpenShard:
    """A shard's table and open files; closed with its last user."""

    def __init__(
        self, shard: Shard, table: SampleTable, names: list[str], files: list[int]
    ) -> None:
        self.shard, self.bucket, self.table = shard, shard.bucket, table
        self.names, self.files = names, files
        # A descriptor closed under a reading thread may be another file by then.
        weakref.finalize(self, _close, set(files))


def _close(descriptors: set[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class _OpenShards:
    """What one process has open of a cache; never taken over through a fork."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.lock = threading.Lock()
        self.shards: OrderedDict[int, _OpenShard] = OrderedDict()


class FeatureCache:
    """A finished cache, open for reading."""

    def __init__(self, root: Path, header: CacheHeader, manifest: Manifest) -> None:
        self.root = root
        self.header = header
        self.manifest = manifest
        self._open = _OpenShards()
        self._local = threading.local()

    @classmethod
    def open(cls, path: str | Path) -> FeatureCache:
        """Raises InputError (no cache there), IncompleteCache, CorruptCache."""
        root = Path(path)
        header = CacheHeader.read(root)
        store_of(header.store)
        manifest = Manifest.read(root, header)
        if manifest is None:
            shards = header.layout.shards
            done = sum((root / record_name(shard.name)).exists() for shard in shards)
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
    def views(self) -> tuple[str, ...]:
        return self.header.layout.views

    @cached_property
    def failed(self) -> dict[int, str]:
        """Why, by image id, for the images that could not be read; reads every record once."""
        if not self.manifest.failed:
            return {}
        failed = {}
        for shard in self.header.layout.shards:
            record = read_record(
                self.root, self.header.id, shard.name, self.manifest.records[shard.name]
            )
            for slot, why in record.failures.items():
                if not 0 <= slot < len(shard.images) * len(self.views):
                    name = self.root / record_name(shard.name)
                    raise CorruptCache(f"{name}: it has no slot {slot} that could have failed")
                failed[shard.images[slot // len(self.views)].id] = why
        return failed

    @cached_property
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
        """Room for `count` samples of the bucket of an image: one (count, C_l, H_l, W_l) a level."""
        layout = self.header.layout
        canvas_hw = layout.buckets[layout.bucket_of(image_id)].canvas_hw
        levels = self.header.key.levels.levels
        return [np.empty((count, *v.shape(canvas_hw)), self.header.dtype) for v in levels]

    def read_into(
        self, samples: Sequence[tuple[int, int]], maps: Sequence[Array]
    ) -> list[Placement]:
        """Fill maps[l] (B, C_l, H_l, W_l), C-contiguous, with samples (image id, view) of one bucket.

        Raises MissingSample, CorruptCache; what `maps` hold then is undefined. ValueError for samples
        of two buckets, or maps that are no room for them.
        """
        if any(len(x) != len(samples) or not x.flags.c_contiguous for x in maps):
            shapes = [x.shape for x in maps]
            raise ValueError(f"expected C-contiguous maps of {len(samples)} samples, got {shapes}")
        targets = [x.reshape(-1).view(np.uint8).data for x in maps]
        sizes = [x.nbytes // len(x) for x in maps]
        bounds = [compress_bound(size) for size in sizes]
        decompressor, placements, bucket = self._decompressor(), [], None
        for row, (image_id, view) in enumerate(samples):
            shard, slot = self._find(image_id, view)
            if bucket is None:
                bucket = shard.bucket
                self._check_room(bucket.canvas_hw, maps)
            if shard.bucket is not bucket:
                raise ValueError(
                    f"expected samples of {bucket.name}, image {image_id} is of another"
                )
            for level, (offset, length, crc32c) in enumerate(shard.table.chunks[slot]):
                size = sizes[level]
                try:
                    if length > bounds[level]:
                        raise DamagedFrame(f"no frame of such a map has {length} bytes")
                    data = os.pread(shard.files[level], length, offset)
                    raw = decompress(decompressor, data, length, crc32c, size)
                except UNREADABLE as error:
                    raise self._corrupt(shard, slot, level, error) from error
                targets[level][row * size : (row + 1) * size] = raw
            placements.append(shard.table.placement(slot))
        return placements

    def _check_room(self, canvas_hw: tuple[int, int], maps: Sequence[Array]) -> None:
        expected = [level.shape(canvas_hw) for level in self.header.key.levels.levels]
        if [x.shape[1:] for x in maps] != expected:
            got = [x.shape[1:] for x in maps]
            raise ValueError(f"room for samples of another bucket: expected {expected}, got {got}")

    def stored(self, image_id: int, view: int = 0) -> tuple[SampleEntry, tuple[Frame, ...]]:
        """A sample as it lies on the disk, checked; no frames where it failed.

        Raises MissingSample (unknown image), CorruptCache.
        """
        shard, slot = self._slot(image_id, view)
        entry, frames = shard.table.entry(slot), []
        for level, chunk in enumerate(entry.chunks):
            spec = self.header.key.levels.levels[level]
            try:
                if chunk.length > compress_bound(self.header.raw_bytes(spec, shard.bucket)):
                    raise DamagedFrame(f"no frame of such a map has {chunk.length} bytes")
                data = os.pread(shard.files[level], chunk.length, chunk.offset)
                check_frame(data, chunk.length, chunk.crc32c)
            except UNREADABLE as error:
                raise self._corrupt(shard, slot, level, error) from error
            frames.append(Frame(data, chunk.crc32c))
        return entry, tuple(frames)

    def entry(self, image_id: int, view: int = 0) -> SampleEntry:
        """What the cache knows of a sample, failed or not; raises as `stored` does."""
        shard, slot = self._slot(image_id, view)
        return shard.table.entry(slot)

    def _find(self, image_id: int, view: int) -> tuple[_OpenShard, int]:
        shard, slot = self._slot(image_id, view)
        if not shard.table.ok[slot]:
            raise MissingSample(
                f"image {image_id} failed at extraction: {shard.table.failure(slot)}"
            )
        return shard, slot

    def _slot(self, image_id: int, view: int) -> tuple[_OpenShard, int]:
        number, slot = self.header.layout.locate(image_id, view)
        shard = self._opened(number)
        if shard.table.samples[slot] != (image_id, view):
            raise CorruptCache(
                f"{self.root}: slot {slot} of shard {shard.shard.name} names another sample than "
                f"image {image_id}, view {view}"
            )
        return shard, slot

    def _opened(self, number: int) -> _OpenShard:
        mine = self._open
        if mine.process != os.getpid():
            # Forked, perhaps while another thread of the parent held the lock. In one assignment:
            # another thread of ours may be here too.
            mine = self._open = _OpenShards()
        with mine.lock:
            opened = mine.shards.get(number)
            if opened is not None:
                mine.shards.move_to_end(number)
                return opened
        opened = self._open_shard(self.header.layout.shards[number])
        with mine.lock:
            mine.shards[number] = opened
            while len(mine.shards) > OPEN_SHARDS:
                mine.shards.popitem(last=False)
        return opened

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
        opened: dict[str, int] = {}
        try:
            for name in dict.fromkeys(names):
                opened[name] = open_below(self.root, name)
        except (CorruptCache, StorageError) as error:
            _close(set(opened.values()))
            raise type(error)(f"{error} (shard {shard.name})") from error
        return _OpenShard(shard, table, names, [opened[name] for name in names])

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
