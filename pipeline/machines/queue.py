"""Pieces of work that wait, and those in a crew's hands: none is lost with its worker."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...cache.errors import FdetError, StorageError
from .crew import Crew, Done, Looked, Lost, Piece, Ready, Refused, Report, Result

log = logging.getLogger(__name__)

# A piece that was lost so often is to blame itself.
TRIES = 4


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A piece that was lost again and again; why: the last time."""

    piece: Piece
    why: str


@dataclass
class WorkQueue:
    """most: pieces that a worker is given at once. there: whether a piece of a lost worker has been done
    after all.
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
        """Pieces that wait or are in hand."""
        return len(self.waiting) + sum(map(len, self.in_hand.values()))

    @property
    def counted(self) -> int:
        """How far the workers are with what they have in hand, together."""
        return self.looked.total()

    def step(self, *, giving: bool = True) -> list[Result | GivenUp]:
        """Give what waits to whoever is idle, and wait a moment; what has come to its end since. giving:
        not where no more is to begin.

        Raises FdetError where a worker refuses, or none can make ready.
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
        """Many at once while much is left, and single ones towards the end, which all then share."""
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
                # Another node's disk may do, or another moment.
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
        """In front of all others. The first that was not done was in hand; without any, its worker could
        not begin.
        """
        left = [piece for piece in pieces if not self.there(piece)]
        self._out += [(piece, None) for piece in pieces if piece not in left]
        if pieces and not left:
            return
        log.warning("a worker was lost with %d pieces, which others take over: %s", len(left), why)
        blamed = left[0] if left else None
        self._lost[blamed] += 1
        if self._lost[blamed] >= TRIES:
            if blamed is not None:
                del self._lost[blamed]
                self._out.append(GivenUp(left.pop(0), why))
            elif not self.in_hand and not self.idle:
                raise FdetError(f"no worker can begin: {TRIES} were lost, the last one by {why}")
        self.waiting.extendleft(reversed(left))
