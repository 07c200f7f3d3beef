"""A crew that lives in this process: workers do a piece a moment, and are lost when a test says so."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fdet.pipeline.machines.workers import Done, Lost, Progress, Ready, Refused, Task


@dataclass
class FakeCrew:
    """room: how many workers there is room for, changed as nodes come and go. work: what a worker answers
    (a report without its number, or the results of a block), by (worker, pieces).
    slow: work goes on until they are stopped.
    """

    room: int = 2
    work: object = None
    given: list[tuple[int, list[Task]]] = field(default_factory=list)
    alive: dict[int, list[Task] | None] = field(default_factory=dict)
    stopped: bool = False
    slow: bool = False
    begins: object = Ready
    _next: int = 0
    _begun: set[int] = field(default_factory=set)
    _told: list = field(default_factory=list)

    def start_workers(self, wanted: int) -> None:
        while len(self.alive) < min(wanted, self.room):
            self.alive[self._next] = None
            self._next += 1

    def give(self, worker: int, tasks: Sequence[Task]) -> None:
        assert worker in self._begun and self.alive[worker] is None, "it is busy, or not there"
        self.given.append((worker, list(tasks)))
        self.alive[worker] = list(tasks)

    def lose(self, worker: int, why: str = "its node died") -> None:
        if self.alive.pop(worker, None) is not None or worker in self._begun:
            self._told.append(Lost(worker, why))

    def reports(self) -> list:
        told, self._told = self._told, []
        for worker, tasks in list(self.alive.items()):
            if worker not in self._begun:
                self._begun.add(worker)
                told.append(self.begins(worker))
                if isinstance(told[-1], Lost):
                    del self.alive[worker]
            elif tasks:
                told.append(Progress(worker, len(tasks)))
                if not self.slow or self.stopped:
                    told.append(self._worked(worker, tasks))
        return told

    def _worked(self, worker: int, tasks: list[Task]):
        found = self.work(worker, tasks) if self.work else None
        if isinstance(found, str):
            del self.alive[worker]
            return Lost(worker, found)
        self.alive[worker] = None
        if isinstance(found, Exception):
            return Refused(worker, found)
        results = [(task, f"{task} by {worker}") for task in tasks]
        return Done(worker, results if found is None else found)

    def stop(self) -> None:
        self.stopped = True
