"""A worker in an actor of its own, on whichever node Ray has put it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from ...cache import errors
from ...cache.errors import FdetError
from .crew import Piece, Worker

# What a refusal is on the other side; any other is an FdetError.
_KINDS: dict[str, type[FdetError]] = {
    kind.__name__: kind
    for kind in (
        errors.InputError,
        errors.ConfigError,
        errors.KeyMismatch,
        errors.CorruptCache,
        errors.IncompleteCache,
        errors.MissingSample,
        errors.StorageError,
    )
}
# (what was found, "", "") or (None, kind of error, message).
Answer = tuple[Any, str, str]


class Actor:
    """Its methods answer; what they raise is a bug. They run in threads of the actor beside each other."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._worker = make()

    def begin(self) -> Answer:
        return _answer(self._worker.begin)

    def work(self, pieces: Sequence[Piece]) -> Answer:
        return _answer(lambda: self._worker.work(pieces))

    def look(self) -> int:
        return self._worker.look()

    def stop(self) -> None:
        self._worker.stop()


def _answer(ask: Callable[[], Any]) -> Answer:
    try:
        return ask(), "", ""
    except FdetError as error:
        return None, type(error).__name__, f"{error} (on node {socket.gethostname()})"


def error_of(kind: str, message: str) -> FdetError:
    """The error of an answer."""
    return _KINDS.get(kind, FdetError)(message)
