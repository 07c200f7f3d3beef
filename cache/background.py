"""Writes shards in a thread of its own, so that the backbone never waits for the disk."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from .header import CacheHeader
from .layout import Shard
from .records import SampleEntry
from .writer import shard_writer
from .zarr_store import Array

_Item = tuple[SampleEntry, Sequence[Array]]


class BackgroundWriter:
    """A context that takes the samples of `shards`, in order, by `put`.

    At most `waiting` samples are held. An error of the disk comes out of the next `put`, or at the
    end of the block. When the block raises, the shard in hand is dropped and the finished ones
    stay. written: called with each sample's bytes before compression, in the
    writing thread.
    """

    def __init__(
        self,
        root: Path,
        header: CacheHeader,
        shards: Sequence[Shard],
        waiting: int,
        written: Callable[[int], None],
    ) -> None:
        self._root, self._header, self._shards = root, header, shards
        self._inbox: queue.Queue[_Item | None] = queue.Queue(waiting)
        self._written = written
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="fdet-writer")

    def __enter__(self) -> Self:
        self._done: Future[None] = self._pool.submit(self._run)
        return self

    def put(self, entry: SampleEntry, maps: Sequence[Array] = ()) -> None:
        """The next sample; waits while too many are waiting."""
        if not self._sent((entry, maps)):
            self._done.result()
            raise ValueError("more samples than the shards hold")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._sent(None)
            if error is None:
                self._done.result()
        finally:
            self._pool.shutdown()

    def _sent(self, item: _Item | None) -> bool:
        """False when the writing thread has ended and nothing can be sent any more."""
        while not self._done.done():
            with suppress(queue.Full):
                self._inbox.put(item, timeout=0.5)
                return True
        return False

    def _run(self) -> None:
        for shard in self._shards:
            self._write(shard)

    def _write(self, shard: Shard) -> None:
        with shard_writer(self._root, self._header, shard) as writer:
            for _ in range(len(shard.images) * len(self._header.layout.views)):
                item = self._inbox.get()
                if item is None:
                    raise ValueError(f"shard {shard.name}: fewer samples than it holds")
                writer.add(*item)
                self._written(sum(x.nbytes for x in item[1]))
