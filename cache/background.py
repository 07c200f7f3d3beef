"""Compresses samples in threads and writes shards in another, so that the backbone never waits."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from .chunks import Array, Frame, compress
from .header import CacheHeader
from .layout import Shard
from .records import SampleEntry
from .writer import shard_writer


class _Item(NamedTuple):
    entry: SampleEntry
    frames: Sequence[Future[Frame]]
    bytes: int


class BackgroundWriter:
    """A context that takes the samples of `shards`, in order, by `put` or `put_frames`.

    At most `waiting` samples are held. An error of the disk comes out of the next `put`, or at the
    end of the block. When the block raises, the shard in hand is dropped and the finished ones
    stay. written: called with each sample's bytes as they came in, in the writing thread.
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
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fdet-writer")
        self._pool = ThreadPoolExecutor(
            min(8, os.cpu_count() or 1), thread_name_prefix="fdet-compress"
        )

    def __enter__(self) -> Self:
        self._done: Future[None] = self._thread.submit(self._run)
        return self

    def put(self, entry: SampleEntry, maps: Sequence[Array] = ()) -> None:
        """The next sample; waits while too many are waiting. The maps must not change any more."""
        frames = [self._pool.submit(compress, x) for x in maps]
        self._put(_Item(entry, frames, sum(x.nbytes for x in maps)))

    def put_frames(self, entry: SampleEntry, frames: Sequence[Frame]) -> None:
        """The next sample, compressed already."""
        done: list[Future[Frame]] = [Future() for _ in frames]
        for future, frame in zip(done, frames, strict=True):
            future.set_result(frame)
        self._put(_Item(entry, done, sum(len(frame.data) for frame in frames)))

    def _put(self, item: _Item) -> None:
        if not self._sent(item):
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
                if any(item is not None for item in self._inbox.queue):
                    raise ValueError("more samples than the shards hold")
        finally:
            self._pool.shutdown(cancel_futures=True)
            self._thread.shutdown()

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
            for _ in self._header.layout.samples(shard):
                item = self._inbox.get()
                if item is None:
                    raise ValueError(f"shard {shard.name}: fewer samples than it holds")
                writer.add_frames(item.entry, [future.result() for future in item.frames])
                self._written(item.bytes)
