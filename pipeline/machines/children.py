"""This program in processes on the nodes of a Ray cluster, as launching.py has them on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ...cache.errors import InputError
from .crew import Piece, Result
from .interrupt import INTERRUPTED, interruptible
from .launching import Children
from .queue import TRIES, GivenUp, WorkQueue
from .ray_cluster import RayPlace, connected, needs_of
from .ray_crew import ray_crew


class ChildRunner:
    """As crew.Worker has it. A piece is a JSON list: the log, and the words of a process; it finds the exit
    status.
    """

    def __init__(self) -> None:
        self._wishes: list[float] = []

    def begin(self) -> None:
        """Nothing to make ready: each process does so itself."""

    def look(self) -> int:
        return 0

    def stop(self) -> None:
        self._wishes.append(time.monotonic())

    def work(self, pieces: Sequence[Piece]) -> list[Result]:
        return [(piece, self._status(*json.loads(str(piece)))) for piece in pieces]

    def _status(self, log: str, *words: str) -> int:
        if not Path(log).parent.is_dir():
            raise InputError(
                f"--out: {Path(log).parent} is not to be seen; expected a folder on a file system that all "
                "nodes share"
            )
        # What is killed with this worker must not go on beside the one that takes its place.
        own = Children(self._wishes, tied=True)
        try:
            process = own.start(words, Path(log))
            while not own.ended():
                pass
            return process.returncode
        finally:
            own.kill()


@dataclass(eq=False)
class RayProcess:
    """returncode: once it has ended."""

    log: Path
    returncode: int | None = None


@dataclass
class RayChildren:
    """As launching.Children: any number may be started, and run when there is room. One whose node is lost
    is started again elsewhere.
    """

    queue: WorkQueue
    wishes: Sequence[float]
    _started: dict[Piece, RayProcess] = field(default_factory=dict)
    _told: bool = False

    def start(self, words: Sequence[str], log: Path) -> RayProcess:
        """`python -m` with these words; all that it says is appended to the log."""
        piece = json.dumps([str(log.absolute()), *words])
        self._started[piece] = RayProcess(log)
        self.queue.waiting.append(piece)
        return self._started[piece]

    def ended(self) -> list[RayProcess]:
        """Those that came to their end since the last call, after a moment."""
        results = self.queue.step(giving=not self.wishes)
        ended = [self._ended(result) for result in results]
        return [*ended, *self._left()] if self.wishes else ended

    def _ended(self, result: Result | GivenUp) -> RayProcess:
        if isinstance(result, GivenUp):
            process = self._started.pop(result.piece)
            process.returncode = 1
            with process.log.open("a") as log:
                log.write(f"lost {TRIES} times, the last time: {result.why}\n")
            return process
        piece, status = result
        process = self._started.pop(piece)
        process.returncode = status
        return process

    def _left(self) -> Iterator[RayProcess]:
        """Those that have not begun, and will not."""
        if not self._told:
            self.queue.crew.stop()
            self._told = True
        while self.queue.waiting:
            process = self._started.pop(self.queue.waiting.popleft())
            process.returncode = INTERRUPTED
            yield process


@contextmanager
def ray_children(place: RayPlace, *, accelerators: bool) -> Iterator[RayChildren]:
    """None of them outlives the block. Raises InputError where there is no Ray."""
    with connected(place.address) as ray, interruptible() as wishes:
        needs = needs_of(ray, place, accelerators=accelerators)
        with ray_crew(ray, ChildRunner, needs, place.workers) as crew:
            yield RayChildren(WorkQueue(crew), wishes)
