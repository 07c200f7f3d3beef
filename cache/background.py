"""Writes shards in a thread of its own, so that the backbone never waits for the disk."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from .header import CacheHeader
from .layout import Shard
from .records import SampleEntry
from .writer import shard_writer
from .zarr_store import Array

_Item = tuple[SampleEntry, Sequence[Array]]


class _Stopped(Exception):
    """The producer gave up: the shard in hand is dropped, the finished ones stay."""


class BackgroundWriter:
    """A context that takes the samples of `shards`, in order, by `put`.

    At most `waiting` samples are held. An error of the disk comes out of the next `put`, or at the
    end of the block. written: called with each sample's stored bytes, in the writing thread.
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
        while True:
            if self._done.done():
                self._done.result()
                raise ValueError("more samples than the shards hold")
            try:
                return self._inbox.put((entry, maps), timeout=0.5)
            except queue.Full:
                continue

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._done.result()
            else:
                self._stop()
        finally:
            self._pool.shutdown()

    def _stop(self) -> None:
        while not self._done.done():
            try:
                self._inbox.put(None, timeout=0.1)
            except queue.Full:
                self._inbox.get_nowait()

    def _run(self) -> None:
        try:
            for shard in self._shards:
                self._write(shard)
        except _Stopped:
            pass

    def _write(self, shard: Shard) -> None:
        with shard_writer(self._root, self._header, shard) as writer:
            for _ in range(len(shard.images) * len(self._header.layout.views)):
                item = self._inbox.get()
                if item is None:
                    raise _Stopped
                writer.add(*item)
                self._written(sum(x.nbytes for x in item[1]))
