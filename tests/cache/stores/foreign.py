"""A cache whose shards were written by another library: the tables and records beside them are ours."""

from dataclasses import replace
from pathlib import Path

import google_crc32c

from fdet.cache.disk.files import FileEntry
from fdet.cache.format.chunks import Chunk
from fdet.cache.format.header import CacheHeader
from fdet.cache.format.records import ShardRecord, record_name, samples_name, samples_to_bytes
from fdet.cache.layout import Shard
from fdet.cache.stores import STORES

from ..handmade import entry_of


def chunk_at(path: Path, offset: int, length: int) -> Chunk:
    """A frame that lies there."""
    with path.open("rb") as file:
        file.seek(offset)
        return Chunk(offset, length, google_crc32c.value(file.read(length)))


def adopt(
    root: Path, header: CacheHeader, shard: Shard, chunks: list[tuple[Chunk, ...] | None]
) -> None:
    """Commit a shard whose level files lie there already; chunks: by slot, None where it failed."""
    entries = [
        entry_of(header, *sample, status="the file is empty")
        if found is None
        else replace(entry_of(header, *sample), chunks=found)
        for sample, found in zip(header.layout.samples(shard), chunks, strict=True)
    ]
    levels = header.key.levels.names
    files = {STORES[header.store].level_file(shard, level): b"" for level in levels}
    files = {name: (root / name).read_bytes() for name in files}
    files[samples_name(shard.name)] = samples_to_bytes(entries, len(levels))
    record = ShardRecord(
        cache_id=header.id,
        shard=shard.name,
        files={name: FileEntry.of(data) for name, data in files.items()},
        samples=len(entries),
        failures={slot: e.status for slot, e in enumerate(entries) if not e.ok},
    )
    for name in (samples_name(shard.name), record_name(shard.name)):
        (root / name).parent.mkdir(exist_ok=True)
    (root / samples_name(shard.name)).write_bytes(files[samples_name(shard.name)])
    (root / record_name(shard.name)).write_bytes(record.to_bytes())
