"""Processes of this program on the nodes of a Ray cluster, as launching.py starts them on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ...cache.errors import InputError
from .interrupt import INTERRUPTED, interruptible
from .launching import Children
from .queue import TRIES, GivenUp, WorkQueue
from .ray_cluster import RayOptions, connected, needs_of
from .ray_workers import ray_workers
from .workers import Result, Task


class ChildRunner:
    """A `workers.Worker` that runs processes.

    A task is a JSON list of the log and the arguments of a process; its result is the exit status.
    """

    def __init__(self) -> None:
        self._stop_requests: list[float] = []

    def begin(self) -> None:
        """Do nothing: each process prepares itself."""

    def progress(self) -> int:
        return 0

    def stop(self) -> None:
        self._stop_requests.append(time.monotonic())

    def work(self, tasks: Sequence[Task]) -> list[Result]:
        return [(task, self._status(*json.loads(str(task)))) for task in tasks]

    def _status(self, log: str, *arguments: str) -> int:
        if not Path(log).parent.is_dir():
            raise InputError(
                f"--out: {Path(log).parent} is not visible here; expected a folder on a file system that "
                "all nodes share"
            )
        # The process of a killed worker must not go on next to the one that replaces it.
        own = Children(self._stop_requests, tied=True)
        try:
            process = own.start(arguments, Path(log))
            while not own.ended():
                pass
            return process.returncode
        finally:
            own.kill()


@dataclass(eq=False)
class RayProcess:
    """A process on some node. returncode: the exit status, None until the process has ended."""

    log: Path
    returncode: int | None = None


@dataclass
class RayChildren:
    """A launcher like launching.Children for the nodes of a cluster.

    Any number of processes may be started; each runs once there is room. One whose node is lost is started
    again elsewhere. stop_requests: the times of the stop requests, empty until there is one.
    """

    queue: WorkQueue
    stop_requests: Sequence[float]
    _started: dict[Task, RayProcess] = field(default_factory=dict)
    _stop_sent: bool = False

    def start(self, words: Sequence[str], log: Path) -> RayProcess:
        """Start `python -m` with the arguments `words`; its output is appended to the log."""
        task = json.dumps([str(log.absolute()), *words])
        self._started[task] = RayProcess(log)
        self.queue.waiting.append(task)
        return self._started[task]

    def ended(self) -> list[RayProcess]:
        """Wait a moment, and return the processes that have ended since the last call."""
        results = self.queue.step(giving=not self.stop_requests)
        ended = [self._ended(result) for result in results]
        return [*ended, *self._left()] if self.stop_requests else ended

    def _ended(self, result: Result | GivenUp) -> RayProcess:
        if isinstance(result, GivenUp):
            process = self._started.pop(result.task)
            process.returncode = 1
            with process.log.open("a", encoding="utf-8", errors="replace") as log:
                log.write(f"lost {TRIES} times, the last time: {result.why}\n")
            return process
        task, status = result
        process = self._started.pop(task)
        process.returncode = status
        return process

    def _left(self) -> Iterator[RayProcess]:
        """Yield the processes that have not started, and now will not."""
        if not self._stop_sent:
            self.queue.workers.stop()
            self._stop_sent = True
        while self.queue.waiting:
            process = self._started.pop(self.queue.waiting.popleft())
            process.returncode = INTERRUPTED
            yield process


@contextmanager
def ray_children(place: RayOptions, *, accelerators: bool) -> Iterator[RayChildren]:
    """Yield a launcher whose processes all end with the block. Raises InputError where there is no Ray."""
    with connected(place.address) as ray, interruptible() as stop_requests:
        needs = needs_of(ray, place, accelerators=accelerators)
        with ray_workers(ray, ChildRunner, needs, place.workers) as workers:
            yield RayChildren(WorkQueue(workers), stop_requests)
