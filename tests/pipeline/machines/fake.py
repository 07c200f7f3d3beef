"""A crew that lives in this process: workers do a piece a moment, and are lost when a test says so."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fdet.pipeline.machines.crew import Done, Looked, Lost, Piece, Ready, Refused


@dataclass
class FakeCrew:
    """room: how many workers there is room for, changed as nodes come and go. work: what a worker answers
    (a report without its number, or the results of a block), by (worker, pieces).
    slow: work goes on until they are stopped.
    """

    room: int = 2
    work: object = None
    given: list[tuple[int, list[Piece]]] = field(default_factory=list)
    alive: dict[int, list[Piece] | None] = field(default_factory=dict)
    stopped: bool = False
    slow: bool = False
    begins: object = Ready
    _next: int = 0
    _begun: set[int] = field(default_factory=set)
    _told: list = field(default_factory=list)

    def hire(self, wanted: int) -> None:
        while len(self.alive) < min(wanted, self.room):
            self.alive[self._next] = None
            self._next += 1

    def give(self, worker: int, pieces: Sequence[Piece]) -> None:
        assert worker in self._begun and self.alive[worker] is None, "it is busy, or not there"
        self.given.append((worker, list(pieces)))
        self.alive[worker] = list(pieces)

    def lose(self, worker: int, why: str = "its node died") -> None:
        if self.alive.pop(worker, None) is not None or worker in self._begun:
            self._told.append(Lost(worker, why))

    def reports(self) -> list:
        told, self._told = self._told, []
        for worker, pieces in list(self.alive.items()):
            if worker not in self._begun:
                self._begun.add(worker)
                told.append(self.begins(worker))
                if isinstance(told[-1], Lost):
                    del self.alive[worker]
            elif pieces:
                told.append(Looked(worker, len(pieces)))
                if not self.slow or self.stopped:
                    told.append(self._worked(worker, pieces))
        return told

    def _worked(self, worker: int, pieces: list[Piece]):
        found = self.work(worker, pieces) if self.work else None
        if isinstance(found, str):
            del self.alive[worker]
            return Lost(worker, found)
        self.alive[worker] = None
        if isinstance(found, Exception):
            return Refused(worker, found)
        results = [(piece, f"{piece} by {worker}") for piece in pieces]
        return Done(worker, results if found is None else found)

    def stop(self) -> None:
        self.stopped = True
