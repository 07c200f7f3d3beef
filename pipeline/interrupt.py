"""Ctrl-C, and a scheduler's SIGTERM: a wish to leave at the end of the step, not in the middle.

A launcher hands Ctrl-C on to processes that have had it from the terminal already: what follows the
first wish at once is the same one.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_WISHES = (signal.SIGINT, signal.SIGTERM)
_AT_ONCE_SECONDS = 1.0


@contextmanager
def interruptible(clock: Callable[[], float] = time.monotonic) -> Iterator[list[float]]:
    """When someone wished to leave, so that a step is never torn; to wish it again raises."""
    wishes: list[float] = []

    def note(number: int, frame: FrameType | None) -> None:
        if wishes and clock() - wishes[0] > _AT_ONCE_SECONDS:
            raise KeyboardInterrupt
        wishes.append(clock())

    try:
        before = {number: signal.signal(number, note) for number in _WISHES}
    except ValueError:  # not the main thread: nobody's Ctrl-C arrives here
        yield wishes
        return
    try:
        yield wishes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
