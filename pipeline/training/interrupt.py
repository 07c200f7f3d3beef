"""Ctrl-C, and a scheduler's SIGTERM: a wish to leave at the end of the step, not in the middle."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_WISHES = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[list[bool]]:
    """A list that becomes true at the first wish, so that a step is never torn; the second one raises."""
    asked: list[bool] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)

    try:
        before = {number: signal.signal(number, note) for number in _WISHES}
    except ValueError:  # not the main thread: nobody's Ctrl-C arrives here
        yield asked
        return
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
