"""A queue of tasks that wait or are in work; no task is lost with its worker."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...cache.errors import FdetError, StorageError
from .crew import Crew, Done, Looked, Lost, Piece, Ready, Refused, Report, Result

log = logging.getLogger(__name__)

# A task whose worker was lost this many times is itself taken as the cause.
TRIES = 4


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A task that was given up after TRIES lost workers. why: the reason of the last loss."""

    piece: Piece
    why: str


@dataclass
class WorkQueue:
    """A queue of tasks for the workers of a crew.

    most: the maximum number of tasks that a worker is given at once. there: a function that returns whether
    a task of a lost worker was done nevertheless. waiting: the tasks not given yet. in_hand: the current
    tasks of each worker. idle: the workers without tasks. looked: the progress of each worker.
    """

    crew: Crew
    most: int = 1
    there: Callable[[Piece], bool] = lambda piece: False
    waiting: deque[Piece] = field(default_factory=deque)
    in_hand: dict[int, list[Piece]] = field(default_factory=dict)
    idle: list[int] = field(default_factory=list)
    looked: Counter[int] = field(default_factory=Counter)
    _lost: Counter[Piece | None] = field(default_factory=Counter)
    _out: list[Result | GivenUp] = field(default_factory=list)

    @property
    def left(self) -> int:
        """The number of tasks that wait or are in work."""
        return len(self.waiting) + sum(map(len, self.in_hand.values()))

    @property
    def counted(self) -> int:
        """The total progress of all workers with their current tasks."""
        return self.looked.total()

    def step(self, *, giving: bool = True) -> list[Result | GivenUp]:
        """Give waiting tasks to idle workers, wait a moment, and return what has ended since the last call.

        giving: False where no further task shall start. Raises FdetError where a worker refuses, or none
        can start.
        """
        if giving:
            self.crew.hire(max(1, self.left))
            while self.waiting and self.idle:
                self._give(self.idle.pop())
        for report in self.crew.reports():
            self._take(report)
        out, self._out = self._out, []
        return out

    def _give(self, worker: int) -> None:
        """Give a worker many tasks while many are left, and single ones towards the end, for balance."""
        share = len(self.waiting) // (4 * (len(self.in_hand) + len(self.idle) + 1))
        count = max(1, min(self.most, share))
        self.in_hand[worker] = [self.waiting.popleft() for _ in range(count)]
        self.crew.give(worker, self.in_hand[worker])

    def _take(self, report: Report) -> None:
        worker = report.worker
        if isinstance(report, Looked):
            if worker in self.in_hand:
                self.looked[worker] = report.count
            return
        self.looked.pop(worker, None)
        pieces = self.in_hand.pop(worker, [])
        match report:
            case Ready():
                del self._lost[None]
                self.idle.append(worker)
            case Done(results=results):
                self.idle.append(worker)
                self._done(pieces, results)
            case Refused(error=StorageError() as error) if pieces:
                # A retry on another node's disk, or later, may succeed.
                self.idle.insert(0, worker)
                self._put_back(pieces, str(error))
            case Refused(error=error):
                raise error
            case Lost() if worker in self.idle:
                self.idle.remove(worker)
            case Lost(why=why):
                self._put_back(pieces, why)

    def _done(self, pieces: Sequence[Piece], results: Sequence[Result]) -> None:
        self._out += results
        found = {piece for piece, _ in results}
        self.waiting.extendleft(piece for piece in reversed(pieces) if piece not in found)

    def _put_back(self, pieces: Sequence[Piece], why: str) -> None:
        """Put the tasks of a lost worker back in front of all others.

        The first one that was not done was in work, so it is blamed. Without tasks the worker failed to
        start.
        """
        left = [piece for piece in pieces if not self.there(piece)]
        self._out += [(piece, None) for piece in pieces if piece not in left]
        if pieces and not left:
            return
        log.warning("a worker was lost with %d tasks, which others take over: %s", len(left), why)
        blamed = left[0] if left else None
        self._lost[blamed] += 1
        if self._lost[blamed] >= TRIES:
            if blamed is not None:
                del self._lost[blamed]
                self._out.append(GivenUp(left.pop(0), why))
            elif not self.in_hand and not self.idle:
                raise FdetError(f"no worker can start: {TRIES} were lost, the last one by {why}")
        self.waiting.extendleft(reversed(left))
