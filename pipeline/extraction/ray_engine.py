"""An engine whose workers, on the nodes of a Ray cluster, write shards into a cache that all of them see.

No maps pass through Ray: workers write their shards themselves and answer with the records.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ...cache.disk.files import is_there
from ...cache.errors import FdetError, InputError
from ...cache.format.header import CacheHeader
from ...cache.format.records import record_name
from ...cache.layout import Shard
from ...cache.wording import counted
from ..backbones.weights_option import absolute
from ..dataset.data_set import DataSet
from ..machines.interrupt import interruptible
from ..machines.progress import ProgressLine, progress_line
from ..machines.queue import TRIES, GivenUp, WorkQueue
from ..machines.ray_cluster import RayOptions, connected, needs_of
from ..machines.ray_workers import ray_workers
from ..machines.workers import Result
from ..machines.world import World
from .options import ExtractConfig
from .worker import CREATE, ShardWorker
from .writing import samples_of

log = logging.getLogger(__name__)

# The maximum number of shards that a worker is given at once, so that it need not wait for each.
MAX_SHARDS = 16
# A file server may take this long to show a new file.
PATIENCE_SECONDS = 60.0
# Workers that are asked to stop drop the shards in hand within this time.
LEAVING_SECONDS = 15.0


def role_of(world: World) -> str:
    """Return the role of a process among those that fill a cache."""
    return f"rank-{world.rank}-of-{world.size}"


@dataclass
class RayEngine:
    """An engine that gives shards to the workers of a queue.

    queue: the queue of CREATE and of shard numbers. stop_requests: a sequence that is not empty once someone
    has requested a stop.
    """

    out: Path
    queue: WorkQueue
    stop_requests: Sequence[float]

    def wait_for_a_worker(self) -> None:
        """Wait for the first worker; if it refuses, the command ends before anything is written."""
        while not self.queue.idle:
            self._step()

    def create(self) -> CacheHeader:
        self.queue.waiting.append(CREATE)
        while self.queue.left:
            for _, warnings in self._step():
                for line in warnings or ():
                    log.warning("%s", line)
        self._wait_for(self.out / "fdet.json")
        return CacheHeader.read(self.out)

    def write(self, header: CacheHeader, shards: Sequence[Shard]) -> Iterator[int]:
        """Let the workers write; yield for each finished shard how many of its images were taken over."""
        by_number = {shard.number: shard for shard in shards}
        paths = {n: self.out / record_name(shard.name) for n, shard in by_number.items()}
        self.queue.is_done = lambda number: is_there(paths[int(number)])
        self.queue.waiting.extend(by_number)
        done = 0
        with progress_line("extract", samples_of(header, shards)) as progress:
            while self.queue.left:
                for number, found in self._step(by_number):
                    if not done:
                        self._wait_for(paths[int(number)])
                    done += samples_of(header, [by_number[int(number)]])
                    yield 0 if found is None else found[1]
                self._show(progress, done)
        for path in paths.values():
            self._wait_for(path)

    def _step(self, names: dict[int, Shard] | None = None) -> list[Result]:
        if self.stop_requests:
            self._leave()
            raise KeyboardInterrupt
        results = []
        for result in self.queue.step():
            if isinstance(result, GivenUp):
                what = f"shard {names[int(result.task)].name}" if names else "the cache's header"
                raise FdetError(f"{what} was tried {TRIES} times; the last time: {result.why}")
            results.append(result)
        return results

    def _show(self, progress: ProgressLine, done: int) -> None:
        workers = len(self.queue.in_hand)
        progress.advance(max(0, done + self.queue.counted - progress.done))
        progress.note(f"{progress.speed('samples/s')}, {counted(workers, 'worker')}")

    def _leave(self) -> None:
        """Let the workers drop the shards in hand; published shards stay."""
        self.queue.workers.stop()
        end = time.monotonic() + LEAVING_SECONDS
        with suppress(FdetError):
            while self.queue.in_hand and time.monotonic() < end:
                self.queue.step(giving=False)

    def _wait_for(self, path: Path) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_there(path):
            if time.monotonic() > end:
                raise InputError(
                    f"--out {self.out}: a worker has written {path.name}, which cannot be seen here; "
                    "expected a folder on a file system that all nodes share"
                )
            time.sleep(0.5)


@contextmanager
def on_ray(config: ExtractConfig, world: World, data: DataSet) -> Iterator[RayEngine]:
    """Yield the engine once a worker is ready; workers read the data set themselves.

    Raises InputError where there is no Ray, and the error with which a worker refuses.
    """
    place = RayOptions(config.ray_address, config.ray_workers, config.ray_cpus, config.ray_gpus)
    make = partial(ShardWorker, worker_config(config), role_of(world))
    with connected(place.address) as ray, interruptible() as stop_requests:
        needs = needs_of(ray, place, accelerators=config.device != "cpu")
        with ray_workers(ray, make, needs, place.workers) as workers:
            engine = RayEngine(config.out, WorkQueue(workers, MAX_SHARDS), stop_requests)
            engine.wait_for_a_worker()
            yield engine


def worker_config(config: ExtractConfig) -> ExtractConfig:
    """Return the configuration for workers, with absolute paths and a number of threads.

    Workers start in other folders, and with other numbers of threads.
    """
    names = ("annotations", "images", "out", "update", "calibration")
    paths = {name: path.absolute() for name in names if (path := getattr(config, name)) is not None}
    weights = None if config.weights is None else absolute(config.weights)
    threads = config.threads or config.ray_cpus
    return replace(config, **paths, weights=weights, threads=threads)
