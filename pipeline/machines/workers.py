"""The interface of workers that come and go, and of their reports; implementations decide what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Task = str | int
# A task and what its worker returned for it.
Result = tuple[Task, Any]


class Worker(Protocol):
    """A worker, wherever it runs.

    Calls of `work` do not overlap; `progress` and `stop` may come during one.
    """

    def begin(self) -> None:
        """Prepare to work; it is called once. Raises FdetError."""

    def work(self, tasks: Sequence[Task]) -> list[Result]:
        """Return the results of the tasks in their order, or of fewer after `stop`. Raises FdetError."""

    def progress(self) -> int:
        """Return the progress of the current tasks, in whatever unit it is counted."""

    def stop(self) -> None:
        """Drop the current tasks."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker is prepared."""

    worker: int


@dataclass(frozen=True, slots=True)
class Done:
    """A worker has done its tasks, and can take more."""

    worker: int
    results: Sequence[Result]


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker met an FdetError, which the user has to fix; the worker itself is still alive."""

    worker: int
    error: Exception


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker is lost, through its node, its process, or an error that may have left it unusable."""

    worker: int
    why: str


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a worker with its current tasks."""

    worker: int
    count: int


Report = Ready | Done | Refused | Lost | Progress


class Workers(Protocol):
    """Any number of workers, each identified by a number that is never reused."""

    def start_workers(self, wanted: int) -> None:
        """Start workers until there are `wanted`, or as many as there is room for; return at once.

        At least one worker is requested even where there is no room.
        """

    def give(self, worker: int, tasks: Sequence[Task]) -> None:
        """Give tasks to a worker that is ready, or has done all of its tasks."""

    def reports(self) -> list[Report]:
        """Return what has happened since the last call, after a moment at most."""

    def stop(self) -> None:
        """Ask all workers to drop their current tasks; each then reports that it is done, or lost."""
