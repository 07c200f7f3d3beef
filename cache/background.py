"""A writer that compresses samples in threads and writes in another, so that the backbone never waits."""

from __future__ import annotations

import os
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from .format.chunks import Array, Frame, compress
from .format.header import CacheHeader
from .format.records import SampleEntry
from .layout import Shard
from .writer import shard_writer


class _Item(NamedTuple):
    entry: SampleEntry
    frames: Sequence[Future[Frame]]
    bytes: int


class _Dropped(Exception):
    """The block has raised, so no more samples will come."""


class BackgroundWriter:
    """A context that takes the samples of `shards`, in order, by `put` or `put_frames`.

    At most `waiting` samples are held. An error of the disk is raised by the next `put`, or at the end of
    the block. When the block raises, the unfinished shard is dropped and the finished ones stay. written:
    called in the writing thread with the number of bytes of each sample as it was put.

    Ctrl-C may come between any two instructions, even in `__exit__`. So the writing thread holds no
    reference to this object, which ends the thread on exit, or at the latest when it is garbage-collected;
    and the interpreter does not wait for the thread.
    """

    def __init__(
        self,
        root: Path,
        header: CacheHeader,
        shards: Sequence[Shard],
        waiting: int,
        written: Callable[[int], None],
    ) -> None:
        self._writing = _Writing(root, header, shards, written)
        for _ in range(waiting):
            self._writing.room.put(None)
        self._leave = weakref.finalize(self, self._writing.leave)
        self._leave.atexit = False
        self._thread = threading.Thread(target=self._writing.run, name="fdet-writer", daemon=True)
        self._pool = ThreadPoolExecutor(
            min(8, os.cpu_count() or 1), thread_name_prefix="fdet-compress"
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def put(self, entry: SampleEntry, maps: Sequence[Array] = ()) -> None:
        """Add the next sample, after waiting while too many are held. The maps must not change any more."""
        frames = [self._pool.submit(compress, x) for x in maps]
        self._put(_Item(entry, frames, sum(x.nbytes for x in maps)))

    def put_frames(self, entry: SampleEntry, frames: Sequence[Frame]) -> None:
        """Add the next sample, which is already compressed."""
        done: list[Future[Frame]] = [Future() for _ in frames]
        for future, frame in zip(done, frames, strict=True):
            future.set_result(frame)
        self._put(_Item(entry, done, sum(len(frame.data) for frame in frames)))

    def _put(self, item: _Item) -> None:
        while self._thread.is_alive():
            with suppress(queue.Empty):
                self._writing.room.get(timeout=0.5)
                self._writing.inbox.put(item)
                return
        self._finish()
        raise ValueError("more samples than the shards hold")

    def _finish(self) -> None:
        """Wait for the thread and raise the error that ended it, if there is one."""
        self._thread.join()
        if self._writing.error is not None:
            raise self._writing.error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._writing.inbox.put(None)
                self._finish()
                if not self._writing.all_taken():
                    raise ValueError("more samples than the shards hold")
        finally:
            self._leave()
            self._pool.shutdown(cancel_futures=True)
            self._thread.join()


@dataclass
class _Writing:
    """The state of the writing thread.

    room: one entry for each sample that may still be put. inbox: the samples, and None after the last. No
    interrupt can leave a call of these queues half done. error: the error that ended the thread.
    """

    root: Path
    header: CacheHeader
    shards: Sequence[Shard]
    written: Callable[[int], None]
    inbox: queue.SimpleQueue[_Item | None] = field(default_factory=queue.SimpleQueue)
    room: queue.SimpleQueue[None] = field(default_factory=queue.SimpleQueue)
    error: BaseException | None = None
    dropped: bool = False

    def leave(self) -> None:
        """Announce that no more samples come; those that wait are written if they complete a shard."""
        self.dropped = True
        self.inbox.put(None)

    def run(self) -> None:
        try:
            for shard in self.shards:
                self._write(shard)
        except BaseException as error:
            self.error = error

    def _write(self, shard: Shard) -> None:
        with shard_writer(self.root, self.header, shard) as writer:
            for _ in self.header.layout.samples(shard):
                item = self.inbox.get()
                self.room.put(None)
                if item is None:
                    if self.dropped:
                        raise _Dropped
                    raise ValueError(f"shard {shard.name}: fewer samples than it holds")
                writer.add_frames(item.entry, [future.result() for future in item.frames])
                self.written(item.bytes)

    def all_taken(self) -> bool:
        """Return whether only the end mark was left in the inbox when the thread ended."""
        while not self.inbox.empty():
            if self.inbox.get() is not None:
                return False
        return True
