"""The trackers of a run; one that cannot be opened stops it before it starts, but later failures do not."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ...cache.errors import FdetError, InputError, did_you_mean
from .trackers import TRACKERS
from .trackers.tracker import Tracker

log = logging.getLogger(__name__)

SHORTEST_PAUSE_SECONDS = 30.0
LARGEST_SHARE = 0.1  # The maximum share of the time that a failing tracker may take.


def check_trackers(names: Sequence[str]) -> None:
    """Check the names of trackers. Raises InputError for unknown ones and for packages not installed."""
    for name in names:
        if name not in TRACKERS:
            raise InputError(f"--track {name}: no such tracker{did_you_mean(name, TRACKERS)}")
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f"--track {name}: its package cannot be imported ({error}); "
                f"pip install 'frozendet[{name}]'"
            ) from error


@contextmanager
def opened_trackers(
    names: Sequence[str], run: Path, parameters: Mapping[str, Any], *, resume: bool
) -> Iterator[list[Tracker]]:
    """Open trackers while the block runs; a failure of one of them in the block is only a warning.

    run: a folder that exists. parameters: the sections of the configuration. Raises InputError.
    """
    check_trackers(names)
    opened: list[Tracker] = []
    finished = False
    try:
        for name in dict.fromkeys(names):
            opened.append(GuardedTracker(name, _opened(name, run, parameters, resume)))
        yield opened
        finished = True
    finally:
        for tracker in opened:
            tracker.close(finished)


def _opened(name: str, run: Path, parameters: Mapping[str, Any], resume: bool) -> Tracker:
    try:
        return TRACKERS[name](run, parameters, resume)
    except FdetError:
        raise
    except Exception as error:  # Every package fails in its own way.
        raise InputError(
            f"--track {name}: it cannot be opened ({_reason(error)}); fix that, or train without it"
        ) from error


class GuardedTracker:
    """A tracker whose failures are only warned about, and only once.

    After a failure it pauses, so that a server which does not answer delays training by at most a small
    share of the time.
    """

    def __init__(
        self, name: str, tracker: Tracker, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._tracker, self._clock = name, tracker, clock
        self._paused_until = float("-inf")
        self._warned = False

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._try(partial(self._tracker.scalars, step, values))

    def picture(self, step: int, name: str, png: bytes) -> None:
        self._try(partial(self._tracker.picture, step, name, png))

    def close(self, finished: bool) -> None:
        self._paused_until = float("-inf")
        self._try(partial(self._tracker.close, finished))

    def _try(self, call: Callable[[], None]) -> None:
        began = self._clock()
        if began < self._paused_until:
            return
        try:
            call()
        except Exception as error:  # Every package fails in its own way.
            now = self._clock()
            self._paused_until = now + max(SHORTEST_PAUSE_SECONDS, (now - began) / LARGEST_SHARE)
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            log.warning(
                "%s failed (%s); the training goes on, metrics.jsonl has every figure, and the "
                "tracker is retried from time to time",
                self._name,
                _reason(error),
            )
        self._warned = True


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
