"""Reading a whole cache: every value is checked against the record that committed it.

A FeatureCache opens its files at first use, may be shared between threads, and can be pickled.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import CorruptCache, IncompleteCache, MissingSample
from .header import CacheHeader
from .layout import Address, Shard
from .manifest import Manifest
from .placement import Placement
from .records import SampleEntry, ShardRecord, read_samples, record_path
from .zarr_store import Array, ShardReader, slots_per_shard

OPEN_SHARDS = 64


@dataclass(frozen=True, slots=True)
class Sample:
    """One image under one view, as stored: maps[l] (C_l, H_l, W_l), read-only.

    The codec of the cache's key turns the maps into floats.
    """

    image_id: int
    view: int
    maps: tuple[Array, ...]
    placement: Placement


@dataclass(frozen=True, slots=True)
class _OpenShard:
    entries: tuple[SampleEntry, ...]
    levels: tuple[ShardReader, ...]


class FeatureCache:
    """A finished cache, open for reading."""

    def __init__(self, root: Path, header: CacheHeader, manifest: Manifest) -> None:
        self.root = root
        self.header = header
        self.manifest = manifest
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _OpenShard] = OrderedDict()

    @classmethod
    def open(cls, path: str | Path) -> FeatureCache:
        """Raises InputError (no cache there), IncompleteCache, CorruptCache."""
        root = Path(path)
        header = CacheHeader.read(root)
        manifest = Manifest.read(root, header.id)
        if manifest is None:
            shards = header.layout.shards
            done = sum(record_path(root, shard.name).exists() for shard in shards)
            raise IncompleteCache(
                f"{root}: {done} of {len(shards)} shards are written; run the same `fdet extract` "
                "command again to finish it"
            )
        if set(manifest.records) != {shard.name for shard in header.layout.shards}:
            raise CorruptCache(f"{root}: manifest and header name different shards")
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
        """Why, by image id, for the images that could not be read; reads every samples file once."""
        if not self.manifest.failed:
            return {}
        failed = {}
        for shard in self.header.layout.shards:
            record = self._record(shard)
            if record.failed:
                entries = read_samples(self.root, record)
                failed.update({e.image_id: e.status for e in entries if not e.ok})
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
        entry, address, shard = self._entry(image_id, view)
        maps = tuple(
            level.read(address.slot, checksum)
            for level, checksum in zip(shard.levels, entry.checksums, strict=True)
        )
        assert entry.placement is not None
        return Sample(image_id, view, maps, entry.placement)

    def entry(self, image_id: int, view: int = 0) -> SampleEntry:
        """What the cache knows of a sample, without its maps; raises as `sample` does."""
        return self._entry(image_id, view)[0]

    def _entry(self, image_id: int, view: int) -> tuple[SampleEntry, Address, _OpenShard]:
        address = self.header.layout.locate(image_id, view)
        shard = self._opened(address.shard)
        entry = shard.entries[address.slot]
        if (entry.image_id, entry.view) != (image_id, view):
            raise CorruptCache(
                f"{self.root}: slot {address.slot} of shard {address.shard.name} names image "
                f"{entry.image_id} view {entry.view}, expected image {image_id} view {view}"
            )
        if not entry.ok:
            raise MissingSample(f"image {image_id} failed at extraction: {entry.status}")
        return entry, address, shard

    def _opened(self, shard: Shard) -> _OpenShard:
        with self._lock:
            if shard.name in self._open:
                self._open.move_to_end(shard.name)
                return self._open[shard.name]
        opened = self._open_shard(shard)
        with self._lock:
            self._open[shard.name] = opened
            while len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)
        return opened

    def _open_shard(self, shard: Shard) -> _OpenShard:
        record = self._record(shard)
        entries = read_samples(self.root, record)
        if len(entries) != len(shard.images) * len(self.views):
            raise CorruptCache(f"{self.root}: shard {shard.name} names {len(entries)} samples")
        slots = slots_per_shard(shard.bucket, len(self.views))
        levels = self.header.key.levels.levels
        readers = tuple(
            ShardReader(
                self.root,
                shard,
                level.name,
                slots,
                level.shape(shard.bucket.canvas_hw),
                self.header.dtype,
            )
            for level in levels
        )
        return _OpenShard(entries, readers)

    def _record(self, shard: Shard) -> ShardRecord:
        path = record_path(self.root, shard.name)
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise CorruptCache(f"{path}: {error.strerror}; the manifest names it") from error
        if hashlib.sha256(raw).hexdigest() != self.manifest.records[shard.name]:
            raise CorruptCache(f"{path}: its bytes are not those that the manifest names")
        return ShardRecord.from_bytes(raw, path, self.header.id, shard.name)
