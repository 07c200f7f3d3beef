"""A queue of tasks that wait or are in work; no task is lost with its worker."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...cache.errors import FdetError, StorageError
from ...cache.wording import counted
from .workers import Done, Lost, Progress, Ready, Refused, Report, Result, Task, Workers

log = logging.getLogger(__name__)

# A task whose worker was lost this many times is itself taken as the cause.
TRIES = 4


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A task that was given up after TRIES lost workers. why: the reason of the last loss."""

    task: Task
    why: str


@dataclass
class WorkQueue:
    """A queue of tasks for workers.

    max_tasks: the maximum number of tasks that a worker is given at once. is_done: a function that returns
    whether a task of a lost worker was done nevertheless. waiting: the tasks not given yet. in_hand: the
    current tasks of each worker. idle: the workers without tasks. progress: the progress of each worker.
    """

    workers: Workers
    max_tasks: int = 1
    is_done: Callable[[Task], bool] = lambda task: False
    waiting: deque[Task] = field(default_factory=deque)
    in_hand: dict[int, list[Task]] = field(default_factory=dict)
    idle: list[int] = field(default_factory=list)
    progress: Counter[int] = field(default_factory=Counter)
    _lost: Counter[Task | None] = field(default_factory=Counter)
    _out: list[Result | GivenUp] = field(default_factory=list)

    @property
    def left(self) -> int:
        """The number of tasks that wait or are in work."""
        return len(self.waiting) + sum(map(len, self.in_hand.values()))

    @property
    def counted(self) -> int:
        """The total progress of all workers with their current tasks."""
        return self.progress.total()

    def step(self, *, giving: bool = True) -> list[Result | GivenUp]:
        """Give waiting tasks to idle workers, wait a moment, and return what has ended since the last call.

        giving: False where no further task shall start. Raises FdetError where a worker refuses, or none
        can start.
        """
        if giving:
            self.workers.start_workers(max(1, self.left))
            while self.waiting and self.idle:
                self._give(self.idle.pop())
        for report in self.workers.reports():
            self._take(report)
        out, self._out = self._out, []
        return out

    def _give(self, worker: int) -> None:
        """Give a worker many tasks while many are left, and single ones towards the end, for balance."""
        share = len(self.waiting) // (4 * (len(self.in_hand) + len(self.idle) + 1))
        count = max(1, min(self.max_tasks, share))
        self.in_hand[worker] = [self.waiting.popleft() for _ in range(count)]
        self.workers.give(worker, self.in_hand[worker])

    def _take(self, report: Report) -> None:
        worker = report.worker
        if isinstance(report, Progress):
            if worker in self.in_hand:
                self.progress[worker] = report.count
            return
        self.progress.pop(worker, None)
        tasks = self.in_hand.pop(worker, [])
        match report:
            case Ready():
                del self._lost[None]
                self.idle.append(worker)
            case Done(results=results):
                self.idle.append(worker)
                self._done(tasks, results)
            case Refused(error=StorageError() as error) if tasks:
                # A retry on another node's disk, or later, may succeed.
                self.idle.insert(0, worker)
                self._put_back(tasks, str(error))
            case Refused(error=error):
                raise error
            case Lost() if worker in self.idle:
                self.idle.remove(worker)
            case Lost(why=why):
                self._put_back(tasks, why)

    def _done(self, tasks: Sequence[Task], results: Sequence[Result]) -> None:
        self._out += results
        found = {task for task, _ in results}
        self.waiting.extendleft(task for task in reversed(tasks) if task not in found)

    def _put_back(self, tasks: Sequence[Task], why: str) -> None:
        """Put the tasks of a lost worker back in front of all others.

        The first one that was not done was in work, so it is blamed. Without tasks the worker failed to
        start.
        """
        left = [task for task in tasks if not self.is_done(task)]
        self._out += [(task, None) for task in tasks if task not in left]
        if tasks and not left:
            return
        log.warning(
            "a worker was lost; others take over its %s: %s", counted(len(left), "task"), why
        )
        blamed = left[0] if left else None
        self._lost[blamed] += 1
        if self._lost[blamed] >= TRIES:
            if blamed is not None:
                del self._lost[blamed]
                self._out.append(GivenUp(left.pop(0), why))
            elif not self.in_hand and not self.idle:
                raise FdetError(f"no worker can start: {TRIES} were lost, the last one by {why}")
        self.waiting.extendleft(reversed(left))
