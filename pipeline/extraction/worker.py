"""A worker that fills shards of a cache on another node: it loads the backbone once, then takes numbers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event

from ...cache.codecs.codec import codec_of
from ...cache.disk.publish import SCRATCH
from ...cache.errors import InputError
from ...cache.format.header import CacheHeader
from ...cache.layout import Shard
from ...cache.reader import FeatureCache
from ...cache.writer import written_record
from ..dataset.check import check_there
from ..dataset.images.canvases import recipe_of
from ..machines.devices import use_threads
from ..machines.workers import Result, Task
from ..machines.world import World
from .creation import created_or_resumed, joined
from .options import ExtractConfig
from .preparation import Prepared, prepared, with_data
from .reuse import Reused, check_same_codec, find_reusable, open_older
from .writing import write_shards

# The task that creates the cache.
CREATE = "create"


class _Stopped(Exception):
    pass


class ShardWorker:
    """A `workers.Worker` whose tasks are CREATE and numbers of shards.

    The result of CREATE is a list of warnings; that of a shard is (the bytes of its record, the number of
    images taken over from an older cache). role: the role that the process that gives out the tasks holds
    in the cache's folder.
    """

    def __init__(self, config: ExtractConfig, role: str) -> None:
        self._config, self._role = config, role
        self._stopping = Event()
        self._written = 0
        self._begun: Prepared | None = None
        self._header: CacheHeader | None = None
        self._older: FeatureCache | None = None

    def begin(self) -> None:
        """Load the backbone, and open the older cache where there is one."""
        with _warnings() as self._early_warnings:
            config, data = with_data(self._config)
            self._begun = prepared(config, World(), data)
            if self._config.update is not None:
                self._older = open_older(self._config.update, self._begun.header)

    def progress(self) -> int:
        return self._written

    def stop(self) -> None:
        self._stopping.set()

    def work(self, tasks: Sequence[Task]) -> list[Result]:
        # The number of torch's threads is a setting of each thread, and this may be a new one.
        use_threads(self._config.threads)
        self._written = 0
        if list(tasks) == [CREATE]:
            return [(CREATE, self._create())]
        return list(self._write([int(number) for number in tasks]))

    def _create(self) -> list[str]:
        """Create the cache or resume it; return the warnings of this and of `begin`."""
        config, begun = self._config, self._begun
        assert begun is not None
        if not (config.out / f".{self._role}{SCRATCH}").exists():
            raise InputError(
                f"--out {config.out}: not the folder that fdet extract has begun to fill; expected one on a "
                "file system that all nodes share"
            )
        with _warnings() as warnings:
            self._header = created_or_resumed(
                config, World(), begun.header, begun.backbone, begun.annotations
            )
        return [*self._early_warnings, *warnings]

    def _write(self, numbers: Sequence[int]) -> Iterator[Result]:
        config, begun = self._config, self._begun
        assert begun is not None
        header = self._header = self._header or joined(config, begun.header)
        shards = [header.layout.shards[number] for number in numbers]
        # A node that does not see the images would write shards of nothing but failures.
        check_there(config.image_folder, [image for shard in shards for image in shard.images])
        recipe = recipe_of(header.key, config.image_folder)
        reused = self._reused(header, shards)
        codec = codec_of(config.out, header.key, begun.device)
        backbone, workers = begun.backbone, config.workers
        with suppress(_Stopped):
            write_shards(
                config.out, header, shards, recipe, backbone, codec, workers, reused, self._wrote
            )
        for shard in shards:
            record = written_record(config.out, header, shard.name)
            if record is not None:
                taken = sum(image.id in reused.ids for image in shard.images)
                yield shard.number, (record.to_bytes(), taken)

    def _reused(self, header: CacheHeader, shards: Sequence[Shard]) -> Reused:
        if self._older is None:
            return Reused()
        check_same_codec(self._older, header)
        return find_reusable(self._older, recipe_of(header.key, self._config.image_folder), shards)

    def _wrote(self, stored_bytes: int) -> None:
        if self._stopping.is_set():
            raise _Stopped
        self._written += 1


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect the warnings that fdet logs within the block."""
    messages: list[str] = []

    class Collecting(logging.Handler):
        """A handler that keeps the messages."""

        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Collecting(logging.WARNING)
    logging.getLogger("fdet").addHandler(handler)
    try:
        yield messages
    finally:
        logging.getLogger("fdet").removeHandler(handler)
