"""Where each sample of a finished cache lies, from the checked tables of its shards."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .errors import CorruptCache, MissingSample
from .format.chunks import DamagedFrame, compress_bound
from .format.header import CacheHeader
from .format.manifest import Manifest
from .format.records import read_record, read_samples, samples_name
from .format.vectors import Vectors, read_vectors
from .layout import Shard
from .open_shards import Location, OpenShard, OpenShards, keep_open, open_shard, tick
from .stores import store_of


class Lookup:
    """Finds the samples of one cache, whose shards it opens at first use, separately in each process."""

    def __init__(self, root: Path, header: CacheHeader, manifest: Manifest) -> None:
        self._root, self._header, self._manifest = root, header, manifest
        self._open = OpenShards()

    def here(self) -> OpenShards:
        """Return the open shards of this process, with its clock one tick later."""
        if self._open.process != os.getpid():
            # The process was forked, perhaps while another thread of the parent held the lock. A single
            # assignment is safe although another thread of this process may be here too.
            self._open = OpenShards()
        self._open.now = tick()
        return self._open

    def shard(self, here: OpenShards, image_id: int) -> OpenShard:
        """Return the open shard of an image. Raises MissingSample, CorruptCache."""
        number = self._header.layout.shard_of(image_id)
        found = here.shards.get(number)
        if found is None:
            opened = self._open_shard(self._header.layout.shards[number])
            opened.used = here.now
            found = keep_open(here, number, opened)
        found.used = here.now
        return found

    def find(self, shard: OpenShard, image_id: int, view: int) -> Location:
        """Look up and check a location, which an open shard then remembers."""
        slot = self.slot(shard, image_id, view)
        check_there(shard, slot)
        self._check_lengths(shard, slot)
        chunks = zip(shard.files, shard.table.chunks[slot], strict=True)
        found = Location(
            slot, shard.table.placement(slot), tuple((file, *chunk) for file, chunk in chunks)
        )
        shard.found[image_id, view] = found
        return found

    def slot(self, shard: OpenShard, image_id: int, view: int) -> int:
        """Return the slot of a sample in its shard. Raises MissingSample, CorruptCache."""
        _, slot = self._header.layout.locate(image_id, view)
        if shard.table.samples[slot] != (image_id, view):
            raise CorruptCache(
                f"{self._root}: slot {slot} of shard {shard.shard.name} names another sample than "
                f"image {image_id}, view {view}"
            )
        return slot

    def vectors(self, shard: OpenShard) -> Vectors:
        """Return the image vectors of a shard, which are read once. Raises CorruptCache."""
        if shard.vectors is None:
            spec = self._header.key.image_vector
            assert spec is not None
            shard.vectors = read_vectors(self._root, shard.record, shard.table.ok, spec)
        return shard.vectors

    def corrupt(self, shard: OpenShard, slot: int, level: int, error: Exception) -> CorruptCache:
        """Return the error that says which sample and level is damaged, and how."""
        image_id, view = shard.table.samples[slot]
        return CorruptCache(
            f"{self._root / shard.names[level]}: shard {shard.shard.name}, level "
            f"{self._header.key.levels.names[level]}, slot {slot} (image {image_id}, view {view}): "
            f"{error}"
        )

    def _check_lengths(self, shard: OpenShard, slot: int) -> None:
        """Check the lengths of a sample's frames before as many bytes are read into memory."""
        for level, (_, length, _) in enumerate(shard.table.chunks[slot]):
            spec = self._header.key.levels.levels[level]
            if length > compress_bound(self._header.raw_bytes(spec, shard.bucket)):
                error = DamagedFrame(f"no frame of such a map has {length} bytes")
                raise self.corrupt(shard, slot, level, error)

    def _open_shard(self, shard: Shard) -> OpenShard:
        levels, views = self._header.key.levels.names, len(self._header.layout.views)
        record = read_record(
            self._root, self._header.id, shard.name, self._manifest.records[shard.name]
        )
        table = read_samples(self._root, record, len(levels), len(shard.images) * views)
        hws = np.repeat([image.hw for image in shard.images], views, axis=0)
        if not table.shows(hws, shard.bucket.canvas_hw):
            raise CorruptCache(
                f"{self._root / samples_name(shard.name)}: its placements are not of the images and "
                f"the canvas of shard {shard.name}"
            )
        names = [store_of(self._header.store).level_file(shard, level) for level in levels]
        return open_shard(self._root, shard, record, table, names)


def check_there(shard: OpenShard, slot: int) -> None:
    """Raise MissingSample for a sample that failed at extraction."""
    if not shard.table.ok[slot]:
        image_id, _ = shard.table.samples[slot]
        raise MissingSample(f"image {image_id} failed at extraction: {shard.table.failure(slot)}")
