"""Reads a cache in children of a process that has read it before, and is reading still.

python -m fdet.tests.cache.forks CACHE fork|forkserver|spawn processes|loader|locked|threads
"""

import multiprocessing
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import numpy as np

from fdet.cache import open_shards
from fdet.cache.reader import FeatureCache
from fdet.tests.cache.handmade import all_samples, assert_exact, maps_of


def read_all(cache: FeatureCache) -> None:
    for sample in all_samples(cache):
        assert_exact(cache, *sample)


def read_in_threads(cache: FeatureCache, count: int) -> None:
    """Several threads begin in the same moment; raises what they raised."""
    barrier = threading.Barrier(count)

    def read() -> None:
        barrier.wait()
        read_all(cache)

    with ThreadPoolExecutor(count) as pool:
        for reader in [pool.submit(read) for _ in range(count)]:
            reader.result()


@contextmanager
def reading(cache: FeatureCache) -> Iterator[None]:
    """Two threads of this process read again and again, and leave the children some time."""
    stop = threading.Event()

    def read() -> None:
        while not stop.wait(0.001):
            read_all(cache)

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            yield
        finally:
            stop.set()
        for reader in readers:
            reader.result()


def opened(root: str) -> tuple[FeatureCache, list]:
    """A cache, and every lock that it takes: its own, and that of all caches of the process."""
    made, real = [open_shards._process.lock], threading.Lock

    def recorded():
        made.append(real())
        return made[-1]

    threading.Lock = recorded
    try:
        return FeatureCache.open(root), made
    finally:
        threading.Lock = real


@contextmanager
def locked(locks: list) -> Iterator[None]:
    """Another thread holds the locks, as it may at the moment of a fork."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            held.set()
            release.wait()

    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(hold)
        held.wait()
        try:
            yield
        finally:
            release.set()
        holder.result()


def run_children(context, target, arguments: tuple, count: int = 2) -> None:
    children = [context.Process(target=target, args=arguments) for _ in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    codes = [child.exitcode for child in children]
    assert codes == [0] * count, codes


class Samples:
    """The maps of every sample, with their numbers: what torch's loader takes for a data set."""

    def __init__(self, cache: FeatureCache) -> None:
        self.cache = cache
        self.samples = all_samples(cache)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[int, list[np.ndarray]]:
        return index, [x.copy() for x in self.cache.sample(*self.samples[index]).stored]


def load(cache: FeatureCache, method: str) -> None:
    """Every sample through two workers of torch's own loader."""
    from torch.utils.data import DataLoader

    multiprocessing.set_forkserver_preload(["torch.utils.data"])  # once for both
    samples, seen = Samples(cache), []
    loader = DataLoader(samples, batch_size=None, num_workers=2, multiprocessing_context=method)
    with reading(cache):
        for index, maps in loader:
            seen.append(index)
            expected = maps_of(cache.header, *samples.samples[index])
            for x, y in zip(maps, expected, strict=True):
                assert x.numpy().tobytes() == y.tobytes()
    assert seen == list(range(len(samples)))


def main(root: str, method: str, what: str) -> None:
    (cache, locks), context = opened(root), multiprocessing.get_context(method)
    assert locks
    read_all(cache)
    if what == "processes":
        with reading(cache):
            run_children(context, read_all, (cache,))
    elif what == "loader":
        load(cache, method)
    elif what == "locked":
        with locked(locks):
            run_children(context, read_all, (cache,))
    elif what == "threads":
        # Threads of a child that meet in the first read after the fork.
        sys.setswitchinterval(1e-6)
        with locked(locks):
            for _ in range(25):
                run_children(context, read_in_threads, (cache, 4), 1)
    read_all(cache)
    print("read")


if __name__ == "__main__":
    main(*sys.argv[1:])
