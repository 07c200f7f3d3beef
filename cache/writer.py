"""The writer of a cache: first the header, then each shard with data before record, last the manifest.

It imports no torch and knows no codec: it takes arrays in their stored type.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from .codecs.calibration import calibration_digest
from .disk.files import FileEntry, is_there
from .disk.objects import refuse_hdf5
from .disk.publish import make_folder, publish_bytes, remove_files, sync_folders
from .errors import IncompleteCache, InputError
from .format import annotation_copy
from .format import header as header_file
from .format import manifest as manifest_file
from .format.annotation_copy import annotations_to_bytes
from .format.chunks import Array, Frame, compress
from .format.content import digest_of_images, digest_of_parts, files_of
from .format.header import CacheHeader
from .format.manifest import Manifest
from .format.records import (
    SampleEntry,
    ShardRecord,
    read_record,
    record_name,
    samples_name,
    samples_to_bytes,
)
from .format.vectors import vectors_name, vectors_to_bytes
from .layout import Shard
from .stores import store_of
from .stores.store import ShardEncoder
from .wording import counted


def create_cache(
    root: Path,
    header: CacheHeader,
    annotations: bytes,
    codec_files: Mapping[str, bytes] | None = None,
) -> CacheHeader:
    """Write everything but the shards, and return the header that the cache now has.

    annotations: the bytes of the annotation file, kept so that the cache can travel. codec_files: the
    files that a calibrated codec needs, by path (cache/codecs/calibration.py). A header that exists
    already is kept, even if it is another one, and the files next to the shards are completed. Raises
    InputError where one of these is missing and the arguments do not give it.
    """
    refuse_hdf5(root, header.store)
    other_files = {**store_of(header.store).other_files(header), **(codec_files or {})}
    other_files[annotation_copy.NAME] = annotations_to_bytes(annotations)
    if not is_there(root / header_file.NAME):
        assert calibration_digest(codec_files or {}) == header.key.calibration
        header = replace(
            header, other_files={name: FileEntry.of(data) for name, data in other_files.items()}
        )
        publish_bytes(root / header_file.NAME, header.to_bytes(), existing="keep")
    header = CacheHeader.read(root)
    make_folders(root, header)
    for name, expected in header.other_files.items():
        if is_there(root / name):
            continue
        if name not in other_files or FileEntry.of(other_files[name]) != expected:
            raise InputError(
                f"{root}: {name} is missing and cannot be made again from this command's input; "
                "repeat the command that the cache was begun with"
            )
        publish_bytes(root / name, other_files[name])
    # Another writer may have been killed between naming a file and making the name durable.
    sync_folders(root)
    return header


def make_folders(root: Path, header: CacheHeader) -> None:
    """Make all folders beforehand: one that appears later may be another writer's and not yet durable."""
    store, levels = store_of(header.store), header.key.levels.names
    shards = header.layout.shards
    names = [store.level_file(shard, level) for shard in shards for level in levels]
    others = [samples_name, record_name, *([vectors_name] if header.key.image_vector else ())]
    names += [name(shard.name) for shard in shards for name in others]
    for folder in sorted({(root / name).parent for name in names}):
        make_folder(folder)


class ShardWriter:
    """The writer of one shard, which takes the samples in the order of their slots."""

    def __init__(
        self,
        encoder: ShardEncoder,
        shapes: Mapping[str, tuple[int, ...]],
        dtype: str,
        vector_bytes: int,
    ) -> None:
        self._encoder, self._shapes, self._dtype = encoder, shapes, dtype
        self._vector_bytes = vector_bytes
        self.entries: list[SampleEntry] = []

    def add(self, entry: SampleEntry, maps: Sequence[Array] = ()) -> None:
        """Fill the next slot with maps[l] in the stored type and shape, or none for a failed sample.

        Raises ValueError for another shape or type.
        """
        self.add_frames(entry, self.compressed(maps) if entry.ok else ())

    def compressed(self, maps: Sequence[Array]) -> tuple[Frame, ...]:
        """Return the frames of one sample's maps. Raises ValueError for another shape or type."""
        for (level, shape), x in zip(self._shapes.items(), maps, strict=True):
            if x.shape != shape or x.dtype != self._dtype:
                raise ValueError(
                    f"level {level}: expected {shape} {self._dtype}, got {x.shape} {x.dtype}"
                )
        return tuple(compress(x) for x in maps)

    def add_frames(self, entry: SampleEntry, frames: Sequence[Frame] = ()) -> None:
        """Fill the next slot with compressed maps. Raises ValueError for a vector of another length."""
        if len(entry.vector) != (self._vector_bytes if entry.ok else 0):
            raise ValueError(
                f"image {entry.image_id}: expected a vector of {self._vector_bytes} bytes where it has "
                f"not failed, got {len(entry.vector)}"
            )
        chunks = self._encoder.add(len(self.entries), frames) if entry.ok else ()
        self.entries.append(replace(entry, chunks=chunks))


@contextmanager
def shard_writer(root: Path, header: CacheHeader, shard: Shard) -> Iterator[ShardWriter]:
    """Write one shard. It exists when the block has ended, and not at all if the block raises."""
    levels = header.key.levels.levels
    shapes = {level.name: header.stored_shape(level, shard.bucket) for level in levels}
    expected = header.layout.samples(shard)
    with store_of(header.store).encoder(root, header, shard) as encoder:
        writer = ShardWriter(encoder, shapes, header.dtype, header.vector_bytes)
        yield writer
        if [(entry.image_id, entry.view) for entry in writer.entries] != expected:
            raise ValueError(
                f"shard {shard.name}: {len(writer.entries)} of {counted(len(expected), 'sample')}, or in "
                "another order than the layout's"
            )
        files = encoder.finish()
    loose = {samples_name(shard.name): samples_to_bytes(writer.entries, len(levels))}
    if spec := header.key.image_vector:
        vectors = [entry.vector for entry in writer.entries]
        loose[vectors_name(shard.name)] = vectors_to_bytes(vectors, spec.channels)
    for name, data in loose.items():
        publish_bytes(root / name, data)
    record = ShardRecord(
        cache_id=header.id,
        shard=shard.name,
        files={**files, **{name: FileEntry.of(data) for name, data in loose.items()}},
        samples=len(expected),
        failures={slot: e.status for slot, e in enumerate(writer.entries) if not e.ok},
        images=digest_of_images(files_of(writer.entries)),
    )
    publish_bytes(root / record_name(shard.name), record.to_bytes())


def written_record(root: Path, header: CacheHeader, shard: str) -> ShardRecord | None:
    """Return the record of a shard, or None while the shard does not exist.

    Raises CorruptCache for a damaged or foreign record.
    """
    if not is_there(root / record_name(shard)):
        return None
    return read_record(root, header.id, shard)


def written_records(root: Path, header: CacheHeader) -> dict[str, ShardRecord]:
    """Return the records of all shards that exist, by name. Raises CorruptCache."""
    found = (
        (shard.name, written_record(root, header, shard.name)) for shard in header.layout.shards
    )
    return {name: record for name, record in found if record is not None}


def seal(root: Path, header: CacheHeader) -> Manifest:
    """Write the manifest of the existing records, unless it exists already.

    A manifest of other records, some of which have been made again since, is set aside. Raises
    IncompleteCache while a shard has no record.
    """
    manifest = _manifest(root, header)
    # Another writer may have been killed between naming a file and the fsync of its folder.
    sync_folders(root)
    while Manifest.read(root, header) != manifest:
        publish_bytes(root / manifest_file.NAME, manifest.to_bytes())
        # A shard may have been made again in the meantime.
        manifest = _manifest(root, header)
    return manifest


def _manifest(root: Path, header: CacheHeader) -> Manifest:
    """Return the manifest of the records as they are now. Raises IncompleteCache, CorruptCache."""
    records = written_records(root, header)
    missing = [s.name for s in header.layout.shards if s.name not in records]
    if missing:
        raise IncompleteCache(f"{root}: shard {missing[0]} has not been written yet")
    images = [record.images for record in records.values()]
    return Manifest(
        header=header.digest,
        records={n: hashlib.sha256(r.to_bytes()).hexdigest() for n, r in records.items()},
        samples=sum(record.samples for record in records.values()),
        failed=sum(record.failed for record in records.values()),
        stored_bytes=sum(f.size for record in records.values() for f in record.files.values()),
        images=digest_of_parts(images) if all(images) else "",
    )


def remove_shard(root: Path, record: ShardRecord) -> None:
    """Remove a shard so that it can be written again: the manifest, then its record, then its data."""
    remove_files([root / manifest_file.NAME])
    remove_files([root / record_name(record.shard)])
    remove_files([root / path for path in record.files])
