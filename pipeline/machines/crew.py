"""Workers that come and go, and what they report; who they are is the crew's own business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Piece = str | int
# Of a piece: what its worker found.
Result = tuple[Piece, Any]


class Worker(Protocol):
    """What works, wherever it lives. One piece of work at a time; `look` and `stop` come in between."""

    def begin(self) -> None:
        """Make ready, once. Raises FdetError."""

    def work(self, pieces: Sequence[Piece]) -> list[Result]:
        """Of each piece, in their order; of fewer after `stop`. Raises FdetError."""

    def look(self) -> int:
        """How far it is with the pieces in hand, in whatever progress is counted in."""

    def stop(self) -> None:
        """Drop what is in hand."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has made ready."""

    worker: int


@dataclass(frozen=True, slots=True)
class Done:
    """A worker has done what it was given, and can be given more."""

    worker: int
    results: Sequence[Result]


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker met what its user has to mend (an FdetError), and is still there."""

    worker: int
    error: Exception


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker is no more: its node, its process, or an error that may have spoilt it."""

    worker: int
    why: str


@dataclass(frozen=True, slots=True)
class Looked:
    """How far a worker is with what it has in hand."""

    worker: int
    count: int


Report = Ready | Done | Refused | Lost | Looked


class Crew(Protocol):
    """Any number of workers, each known by a number that never comes again."""

    def hire(self, wanted: int) -> None:
        """See to it that there are `wanted` workers, or as many as there is room for; at least one is
        asked for. Returns at once.
        """

    def give(self, worker: int, pieces: Sequence[Piece]) -> None:
        """To one that is ready, or has done all."""

    def reports(self) -> list[Report]:
        """What has happened since the last call, after a moment at most."""

    def stop(self) -> None:
        """Ask all of them to drop what they have in hand; each reports that it is done, or lost."""
