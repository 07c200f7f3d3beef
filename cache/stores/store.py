"""What a store is: where the frames of a shard go, so that others than fdet can read them too."""

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
    """Takes the frames of one shard, slot after slot."""

    def add(self, slot: int, frames: Sequence[Frame]) -> tuple[Chunk, ...]:
        """Keep one sample's frames, one a level; says where each lies in its file."""
        ...

    def finish(self) -> dict[str, FileEntry]:
        """Complete the files; length and sha256 by path below the cache's root."""
        ...


class Store(Protocol):
    """Reading needs nothing of it but `level_file`: the samples tables say where each frame lies."""

    def beside(self, header: CacheHeader) -> Mapping[str, bytes]:
        """What lies beside the shards, by path below the root; the same bytes for the same header."""
        ...

    def level_file(self, shard: Shard, level: str) -> str:
        """The file, as a path below the root, that holds one level of a shard."""
        ...

    def encoder(
        self, root: Path, header: CacheHeader, shard: Shard
    ) -> AbstractContextManager[ShardEncoder]:
        """The files of a shard; they appear when the block ends, and not at all if it raises."""
        ...

    def versions(self) -> Mapping[str, str]:
        """Version of each library that has a part in the bytes."""
        ...
