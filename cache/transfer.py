"""The copy of a cache, file by file, with each file checked against the digest that its record names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from .disk.files import FileEntry, OpenFile, opened_below
from .disk.objects import OpenObject, refuse_hdf5, retry_from_objects
from .disk.publish import publish_bytes, published
from .errors import CorruptCache, KeyMismatch
from .format import header as header_file
from .format.header import CacheHeader
from .format.manifest import Manifest
from .format.records import read_record, record_name
from .layout import Shard
from .reader import FeatureCache
from .writer import make_folders, seal, written_record

SHARDS_AT_ONCE = 4
_BLOCK_BYTES = 2**23


def copy_files(source: FeatureCache, out: Path, advance: Callable[[int], None]) -> None:
    """Copy the files of a cache to `out`, or finish such a copy; shards that are there are left alone.

    advance: called in several threads with the size of each file in bytes, and with that of finished
    shards. Raises CorruptCache (of the source), KeyMismatch (`out` holds another cache, or other bytes of
    this one), StorageError; finished shards survive all of these.
    """
    copying = _Copying(source.root, out, source.header, source.manifest, advance)
    copying.lay_down()
    shards = source.header.layout.shards
    with ThreadPoolExecutor(SHARDS_AT_ONCE, thread_name_prefix="fdet-copy") as pool:
        try:
            futures = [pool.submit(copying.shard, shard) for shard in shards]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        finally:
            copying.stop.set()
            pool.shutdown(cancel_futures=True)
    seal(out, copying.header)


class _Stopped(Exception):
    """Another thread has failed, and raises the reason."""


@dataclass(frozen=True)
class _Copying:
    """A copy in progress, from root to out. stop: set once nothing more is to be read."""

    root: Path
    out: Path
    header: CacheHeader
    manifest: Manifest
    advance: Callable[[int], None]
    stop: Event = field(default_factory=Event)

    def lay_down(self) -> None:
        """Write all files but those of the shards."""
        refuse_hdf5(self.out, self.header.store)
        publish_bytes(self.out / header_file.NAME, self.header.to_bytes(), existing="keep")
        found = CacheHeader.read(self.out)
        if found.digest != self.header.digest:
            raise KeyMismatch(
                f"{self.out} holds another cache ({found.id[:12]}); choose another folder"
            )
        make_folders(self.out, self.header)
        for name, entry in self.header.other_files.items():
            _copied(self.root, self.out, name, entry, self.stop)

    def shard(self, shard: Shard) -> None:
        """Copy the data of a shard, then its table, then its record."""
        sha256 = self.manifest.records[shard.name]
        record = read_record(self.root, self.header.id, shard.name, sha256)
        existing = written_record(self.out, self.header, shard.name)
        if existing is not None:
            if existing != record:
                raise KeyMismatch(
                    f"{self.out} has other bytes of shard {shard.name} than {self.root}: they are of two "
                    "extractions, or images were tried again since; choose another place, or delete it"
                )
            self.advance(sum(entry.size for entry in record.files.values()))
            return
        for name, entry in record.files.items():
            self.advance(_copied(self.root, self.out, name, entry, self.stop))
        publish_bytes(self.out / record_name(shard.name), record.to_bytes())


@retry_from_objects
def _copied(root: Path, out: Path, name: str, entry: FileEntry, stop: Event) -> int:
    """Copy a file and return its size. Nothing appears in `out` where the bytes are not `entry`'s."""
    hashed, size = hashlib.sha256(), 0
    with (
        opened_below(root, name) as source,
        published(out / name, reserve=entry.size) as file,
    ):
        while block := _read(root / name, source, size, min(_BLOCK_BYTES, entry.size + 1 - size)):
            if stop.is_set():
                raise _Stopped
            file.write(block)
            hashed.update(block)
            size += len(block)
        if (size, hashed.hexdigest()) != (entry.size, entry.sha256):
            raise CorruptCache(
                f"{root / name}: its bytes are not those that were committed; `fdet cache verify "
                f"{root}` says which samples that concerns"
            )
    return size


def _read(path: Path, source: OpenFile | OpenObject, offset: int, length: int) -> bytes:
    """Read a part of a file. Raises CorruptCache where the disk cannot read it.

    An OSError would be reported as a failure to write the other file.
    """
    try:
        return source.read_at(offset, length)
    except OSError as error:
        raise CorruptCache(f"cannot read {path}: {error.strerror or error}") from error
