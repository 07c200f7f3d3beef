"""The interface of a store, which keeps the frames of a shard so that other programs can read them too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from ..disk.files import FileEntry
from ..format.chunks import Chunk, Frame
from ..format.header import CacheHeader
from ..layout import Shard


class ShardEncoder(Protocol):
    """An encoder that takes the frames of one shard, slot after slot."""

    def add(self, slot: int, frames: Sequence[Frame]) -> tuple[Chunk, ...]:
        """Keep one sample's frames, one a level, and return the location of each in its file."""
        ...

    def finish(self) -> dict[str, FileEntry]:
        """Complete the files, and return their lengths and sha256 by path below the cache's root."""
        ...


class Store(Protocol):
    """A store of frames.

    Reading needs only `level_file`, since the samples tables say where each frame lies.
    """

    def other_files(self, header: CacheHeader) -> Mapping[str, bytes]:
        """Return the files next to the shards by path below the root; the header decides their bytes."""
        ...

    def level_file(self, shard: Shard, level: str) -> str:
        """Return the path, below the root, of the file that holds one level of a shard."""
        ...

    def encoder(
        self, root: Path, header: CacheHeader, shard: Shard
    ) -> AbstractContextManager[ShardEncoder]:
        """Encode the files of a shard, which appear when the block ends, and not at all if it raises."""
        ...

    def versions(self) -> Mapping[str, str]:
        """Return the version of each library that has a part in the bytes."""
        ...
