"""From samples to a whole cache: header first, then shard by shard data before record, manifest last.

Imports no torch and knows no codec: it takes arrays in their stored type.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from . import header as header_file
from . import manifest as manifest_file
from .annotation_copy import write_annotations
from .errors import IncompleteCache
from .header import CacheHeader
from .layout import Shard
from .manifest import Manifest
from .publish import publish_bytes, published, remove_files, remove_scratch
from .records import (
    FileEntry,
    SampleEntry,
    ShardRecord,
    record_path,
    samples_path,
    samples_to_bytes,
)
from .zarr_store import Array, ShardEncoder, create_arrays, shard_path, slots_per_shard


def create_cache(root: Path, header: CacheHeader, annotations: bytes) -> None:
    """Lay down everything but the shards.

    annotations: the bytes of the annotation file, kept so that the cache can travel.
    """
    publish_bytes(root / header_file.NAME, header.to_bytes())
    complete_frame(root, header, annotations)


def complete_frame(root: Path, header: CacheHeader, annotations: bytes) -> None:
    """What lies beside the header, where an interrupted `create_cache` left it out."""
    create_arrays(root, header)
    write_annotations(root, annotations)


class ShardWriter:
    """Takes the samples of one shard in the order of their slots."""

    def __init__(self, encoders: Mapping[str, ShardEncoder]) -> None:
        self._encoders = encoders
        self.entries: list[SampleEntry] = []

    def add(self, entry: SampleEntry, maps: Sequence[Array] = ()) -> None:
        """The next slot: maps[l] (C_l, H_l, W_l) in the stored type; none for a failed sample."""
        if entry.ok:
            slot = len(self.entries)
            levels = zip(self._encoders.values(), maps, strict=True)
            entry = replace(entry, checksums=tuple(e.add(slot, x) for e, x in levels))
        self.entries.append(entry)

    def finish(self) -> dict[str, FileEntry]:
        return {level: encoder.finish() for level, encoder in self._encoders.items()}


@contextmanager
def shard_writer(root: Path, header: CacheHeader, shard: Shard) -> Iterator[ShardWriter]:
    """Write one shard. It exists when the block has ended, and not at all if the block raises."""
    names = header.key.levels.names
    paths = {name: shard_path(root, shard, name) for name in names}
    views = len(header.layout.views)
    with ExitStack() as files:
        encoders = {}
        for name, path in paths.items():
            remove_scratch(path)
            file = files.enter_context(published(path))
            encoders[name] = ShardEncoder(file, slots_per_shard(shard.bucket, views))
        writer = ShardWriter(encoders)
        yield writer
        expected = [(image.id, view) for image in shard.images for view in range(views)]
        found = [(entry.image_id, entry.view) for entry in writer.entries]
        if found != expected:
            raise ValueError(
                f"shard {shard.name}: {len(found)} of {len(expected)} samples, or in another order "
                "than the layout's"
            )
        entries = {paths[name]: entry for name, entry in writer.finish().items()}
    samples = samples_to_bytes(header.id, shard.name, writer.entries)
    samples_file = samples_path(root, shard.name)
    publish_bytes(samples_file, samples)
    entries[samples_file] = FileEntry(len(samples), hashlib.sha256(samples).hexdigest())
    record = ShardRecord(
        cache_id=header.id,
        shard=shard.name,
        files={path.relative_to(root).as_posix(): entry for path, entry in entries.items()},
        samples=len(expected),
        failed=sum(not entry.ok for entry in writer.entries),
    )
    publish_bytes(record_path(root, shard.name), record.to_bytes())


def read_record(root: Path, header: CacheHeader, shard: str) -> ShardRecord | None:
    """None while the shard does not exist; raises CorruptCache for a damaged or foreign record."""
    path = record_path(root, shard)
    if not path.exists():
        return None
    return ShardRecord.from_bytes(path.read_bytes(), path, header.id, shard)


def seal(root: Path, header: CacheHeader) -> Manifest:
    """Write the manifest; raises IncompleteCache while a shard has no record."""
    records: dict[str, ShardRecord] = {}
    for shard in header.layout.shards:
        record = read_record(root, header, shard.name)
        if record is None:
            raise IncompleteCache(f"{root}: shard {shard.name} has not been written yet")
        records[shard.name] = record
    manifest = Manifest(
        cache_id=header.id,
        records={n: hashlib.sha256(r.to_bytes()).hexdigest() for n, r in records.items()},
        samples=sum(record.samples for record in records.values()),
        failed=sum(record.failed for record in records.values()),
        stored_bytes=sum(f.bytes for record in records.values() for f in record.files.values()),
    )
    publish_bytes(root / manifest_file.NAME, manifest.to_bytes())
    return manifest


def retract(root: Path, record: ShardRecord) -> None:
    """Take a shard back so that it can be written again: manifest, then record, then data."""
    remove_files([root / manifest_file.NAME])
    remove_files([record_path(root, record.shard)])
    remove_files([root / path for path in record.files])
