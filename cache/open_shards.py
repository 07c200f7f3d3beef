"""The shards that a process has open, over all caches that it reads."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from pathlib import Path
from typing import NamedTuple

from .disk.files import open_below
from .disk.objects import ObjectPath
from .errors import CorruptCache, StorageError
from .format.records import SampleTable, ShardRecord
from .format.vectors import Vectors
from .layout import Shard
from .placement import Placement
from .sampler import SampleId

# For all caches of a process together: a shard takes one descriptor a file, and a process may have 1,024.
OPEN_SHARDS = 64
# A shard in an object store has no open file, but reading its table again costs two requests.
KNOWN_SHARDS = 2**14


class Location(NamedTuple):
    """The location of a sample: chunks[l] is (descriptor, offset, length, crc32c).

    The descriptor is -1 for an object of an object store.
    """

    slot: int
    placement: Placement
    chunks: tuple[tuple[int, int, int, int], ...]


class OpenShard:
    """The table and the open files of a shard, which are closed when its last user is gone.

    vectors: the image vectors of the shard, once they have been read.
    """

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
        self.found: dict[SampleId, Location] = {}
        self.used = 0
        self.has_files = set(files) != {-1}
        # If a descriptor were closed while a thread reads, its number could already mean another file.
        weakref.finalize(self, _close, set(files) - {-1})


def _close(descriptors: set[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class OpenShards:
    """The shards that one process has open of a cache, which are never carried through a fork.

    now: the time of the last look-up, by a clock that all caches of the process share; `used` of a shard
    is that of its own last look-up. Another thread may evict a shard while it is being looked up: it stays
    open for whoever holds it.
    """

    def __init__(self) -> None:
        self.process, self.now = os.getpid(), 0
        self.shards: dict[int, OpenShard] = {}


class _Process:
    """All shards that have open files in this process, over all its caches."""

    def __init__(self) -> None:
        self.clock = itertools.count(1)
        self.lock = threading.Lock()
        self.caches: weakref.WeakSet[OpenShards] = weakref.WeakSet()

    def take(self, here: OpenShards, number: int, shard: OpenShard) -> OpenShard:
        """Add a shard to `here`; where there are too many, evict those that were used longest ago.

        Shards with open files are counted over all caches of the process, others only in `here`.
        """
        with self.lock:
            if not shard.has_files:
                caches, limit = [here], KNOWN_SHARDS
            else:
                self.caches.add(here)
                caches, limit = list(self.caches), OPEN_SHARDS
            here.shards.pop(number, None)
            while sum(len(one.shards) for one in caches) >= limit:
                owner = min(
                    (one for one in caches if one.shards),
                    key=lambda one: min(shard.used for shard in one.shards.values()),
                )
                owner.shards.pop(min(owner.shards, key=lambda k: owner.shards[k].used))
            here.shards[number] = shard
        return shard


_process = _Process()


def tick() -> int:
    """Return the time of the next look-up, by a clock that all caches of the process share."""
    return next(_process.clock)


def keep_open(here: OpenShards, number: int, shard: OpenShard) -> OpenShard:
    """Add a shard to those of a cache; where there are too many, close those that were used longest ago."""
    return _process.take(here, number, shard)


def _forked() -> None:
    """Start a child without its parent's shards and lock, which another thread may have held."""
    global _process
    _process = _Process()


os.register_at_fork(after_in_child=_forked)


def open_shard(
    root: Path, shard: Shard, record: ShardRecord, table: SampleTable, names: list[str]
) -> OpenShard:
    """Open the files `names` of a shard, one for each level; those of an object store are not opened.

    Raises CorruptCache, StorageError.
    """
    if isinstance(root, ObjectPath):
        return OpenShard(shard, record, table, names, [-1] * len(names))
    opened: dict[str, int] = {}
    try:
        for name in dict.fromkeys(names):
            opened[name] = open_below(root, name)
    except (CorruptCache, StorageError) as error:
        _close(set(opened.values()))
        raise type(error)(f"{error} (shard {shard.name})") from error
    return OpenShard(shard, record, table, names, [opened[name] for name in names])
