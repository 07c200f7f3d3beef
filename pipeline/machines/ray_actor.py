"""A worker in a Ray actor, on whichever node Ray has placed it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from ...cache import errors
from ...cache.errors import FdetError
from .workers import Task, Worker

# The kinds of errors that keep their class on the way to the driver; all others become an FdetError.
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
# An answer is (result, "", "") or (None, kind of error, message).
Answer = tuple[Any, str, str]


class Actor:
    """An actor around a worker.

    Its methods return errors as answers; anything that they raise is a bug. They run in parallel threads of
    the actor.
    """

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._worker = make()

    def begin(self) -> Answer:
        return _answer(self._worker.begin)

    def work(self, tasks: Sequence[Task]) -> Answer:
        return _answer(lambda: self._worker.work(tasks))

    def progress(self) -> int:
        return self._worker.progress()

    def stop(self) -> None:
        self._worker.stop()


def _answer(ask: Callable[[], Any]) -> Answer:
    try:
        return ask(), "", ""
    except FdetError as error:
        return None, type(error).__name__, f"{error} (on node {socket.gethostname()})"


def error_of(kind: str, message: str) -> FdetError:
    """Return the error that an answer describes."""
    return _KINDS.get(kind, FdetError)(message)
