"""Ctrl-C and a scheduler's SIGTERM.

A command is ended by the first Ctrl-C: it raises KeyboardInterrupt, once. Commands that save what they
have first hear of it as a wish, and leave at the end of the step, not in the middle.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
_WISHES = (signal.SIGINT, signal.SIGTERM)
_AT_ONCE_SECONDS = 1.0
_GRACE_SECONDS = 4.0
_LAST_WORDS = b"\nfdet: interrupted; what was finished is kept\n"


@contextmanager
def ended_by_interrupt(grace_seconds: float = _GRACE_SECONDS) -> Iterator[None]:
    """A whole command, in the main thread: Ctrl-C ends this process within the grace, with exit status 130.

    The first one raises KeyboardInterrupt; later ones do nothing, so that what the first one set in motion
    is not torn in its turn. A process that is still there after the grace is ended where it stands, as it
    would be by SIGKILL, which every command survives: code that was between two instructions that belong
    together (a lock taken, its release not yet registered) may wait for ever.
    """
    interrupted = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            return
        interrupted = True
        # Not threading.Thread: it takes locks, and the code that was interrupted may hold them.
        _thread.start_new_thread(_end_after, (grace_seconds,))
        raise KeyboardInterrupt

    # Ignored by whoever started this process (nohup, a shell's &): it stays ignored.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except SystemExit as error:
        # What the command line's parser makes of Ctrl-C is status 1. `fdet browse` ends so, with 0.
        if interrupted and error.code:
            raise SystemExit(INTERRUPTED) from None
        raise
    finally:
        if interrupted:
            # While it shuts down the interpreter would let one more end the process by the signal.
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_after(seconds: float) -> None:
    time.sleep(seconds)
    os.write(2, _LAST_WORDS)
    os._exit(INTERRUPTED)


@contextmanager
def interruptible(clock: Callable[[], float] = time.monotonic) -> Iterator[list[float]]:
    """When someone wished to leave, so that a step is never torn; to wish it again ends the command.

    A launcher hands Ctrl-C on to processes that have had it from the terminal already: what follows the
    first wish at once is the same one.
    """
    wishes: list[float] = []
    if threading.current_thread() is not threading.main_thread():  # nobody's Ctrl-C arrives here
        yield wishes
        return
    before = {number: signal.getsignal(number) for number in _WISHES}

    def note(number: int, frame: FrameType | None) -> None:
        if wishes and clock() - wishes[0] > _AT_ONCE_SECONDS:
            _end_command(before[signal.SIGINT], frame)
        wishes.append(clock())

    try:
        for number in _WISHES:
            signal.signal(number, note)
        yield wishes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_command(handler: object, frame: FrameType | None) -> None:
    """Hand a second wish to whoever was there before."""
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt
