"""The trackers of a run: refused before it starts where they cannot be opened, harmless from then on."""

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
LARGEST_SHARE = 0.1  # of the time, that a tracker which fails may take


def check_trackers(names: Sequence[str]) -> None:
    """Raises InputError for a name that nobody knows, and where its package is not installed."""
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
    """Open while the block runs; what fails in one of them then is a warning.

    run: a folder that exists. parameters: the configuration's sections. Raises InputError.
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
    except Exception as error:  # every package fails in its own way
        raise InputError(
            f"--track {name}: it cannot be opened ({_reason(error)}); mend that, or train without it"
        ) from error


class GuardedTracker:
    """A tracker whose failures are warned of once. After one it rests, so that a server which does
    not answer holds up the training for a small share of the time at most.
    """

    def __init__(
        self, name: str, tracker: Tracker, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._tracker, self._clock = name, tracker, clock
        self._rests_until = float("-inf")
        self._warned = False

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._try(partial(self._tracker.scalars, step, values))

    def picture(self, step: int, name: str, png: bytes) -> None:
        self._try(partial(self._tracker.picture, step, name, png))

    def close(self, finished: bool) -> None:
        self._rests_until = float("-inf")
        self._try(partial(self._tracker.close, finished))

    def _try(self, call: Callable[[], None]) -> None:
        began = self._clock()
        if began < self._rests_until:
            return
        try:
            call()
        except Exception as error:  # every package fails in its own way
            now = self._clock()
            self._rests_until = now + max(SHORTEST_PAUSE_SECONDS, (now - began) / LARGEST_SHARE)
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            log.warning(
                "%s failed (%s); the training goes on, metrics.jsonl has every figure, and it is "
                "tried again now and then",
                self._name,
                _reason(error),
            )
        self._warned = True


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
