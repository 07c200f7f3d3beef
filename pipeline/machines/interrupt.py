"""The handling of Ctrl-C and of a scheduler's SIGTERM.

The first Ctrl-C ends a command: it raises KeyboardInterrupt, once. Commands that save their state before
they end get it as a stop request instead, and stop at the end of a step, not within it.
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
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AT_ONCE_SECONDS = 1.0
_GRACE_SECONDS = 4.0
# Whether Ctrl-C has ended the command of this process.
_interrupted = False
_LAST_WORDS = b"\nfdet: interrupted; what was finished is kept\n"


@contextmanager
def ended_by_interrupt(grace_seconds: float = _GRACE_SECONDS) -> Iterator[None]:
    """Run a whole command in the main thread so that Ctrl-C ends the process, with exit status 130.

    The first Ctrl-C raises KeyboardInterrupt; later ones do nothing, so that the clean-up is not
    interrupted in its turn. A process that is still alive after the grace period is ended at once, as by
    SIGKILL, which every command survives without damage. This is needed since code that was interrupted
    between two instructions that belong together (a lock taken, its release not yet registered) may wait
    for ever.
    """
    global _interrupted
    _interrupted = False

    def end(number: int, frame: FrameType | None) -> None:
        global _interrupted
        if _interrupted:
            return
        _interrupted = True
        # threading.Thread would take locks that the interrupted code may hold.
        _thread.start_new_thread(_end_after, (grace_seconds,))
        raise KeyboardInterrupt

    # A signal that the starter of this process ignores (nohup, a shell's &) stays ignored.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except SystemExit as error:
        # The command line's parser turns Ctrl-C into status 1. `fdet browse` is ended by it with status 0.
        if _interrupted and error.code:
            raise SystemExit(INTERRUPTED) from None
        # A command that stopped at a request has ended by itself.
        _interrupted = _interrupted or error.code == INTERRUPTED
        raise
    except Exception:
        # The standard library's pools raise in their clean-up where they were interrupted half started.
        if _interrupted:
            raise SystemExit(INTERRUPTED) from None
        raise
    finally:
        if _interrupted:
            # While the interpreter shuts down, one more Ctrl-C would end the process by the signal.
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def was_interrupted() -> bool:
    """Return whether Ctrl-C has ended the command of this process, whatever became of KeyboardInterrupt.

    Code in C may turn it into an error of its own.
    """
    return _interrupted


def _end_after(seconds: float) -> None:
    time.sleep(seconds)
    os.write(2, _LAST_WORDS)
    os._exit(INTERRUPTED)


@contextmanager
def interruptible(clock: Callable[[], float] = time.monotonic) -> Iterator[list[float]]:
    """Yield the times of the stop requests, so that no step is torn; a second request ends the command.

    A launcher passes Ctrl-C on to processes that have received it from the terminal already, so a request
    that follows the first one at once counts as the same, also where the block has ended in between.
    """
    requests: list[float] = []
    if threading.current_thread() is not threading.main_thread():  # Only that one receives signals.
        yield requests
        return
    before = {number: signal.getsignal(number) for number in _STOP_SIGNALS}

    def repeated() -> bool:
        return bool(requests) and clock() - requests[0] <= _AT_ONCE_SECONDS

    def note(number: int, frame: FrameType | None) -> None:
        if requests and not repeated():
            _end_command(before[signal.SIGINT], frame)
        requests.append(clock())

    def late(number: int, frame: FrameType | None) -> None:
        if not repeated():
            _end_command(before[signal.SIGINT], frame)

    try:
        for number in _STOP_SIGNALS:
            signal.signal(number, note)
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if requests and callable(before[signal.SIGINT]):
            signal.signal(signal.SIGINT, late)


def _end_command(handler: object, frame: FrameType | None) -> None:
    """Pass a second stop request to the handler that was installed before, or raise KeyboardInterrupt."""
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt
