"""This program in processes of its own; Ctrl-C asks each of them once to save and leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .interrupt import INTERRUPTED, interruptible
from .world import without_launcher

_POLL_SECONDS = 0.05
# In the environment of a process whose standard input ends when its launcher does.
_TIED = "FDET_ENDS_WITH_ITS_INPUT"

Process = subprocess.Popen[bytes]


class Started(Protocol):
    """A process somewhere."""

    @property
    def returncode(self) -> int | None:
        """Once it has ended."""


class Launcher(Protocol):
    """Starts processes, and tells which of them have ended. wishes: not empty once someone wishes to
    leave.
    """

    @property
    def wishes(self) -> Sequence[float]: ...

    def start(self, words: Sequence[str], log: Path) -> Started: ...

    def ended(self) -> Sequence[Started]: ...


@dataclass
class Children:
    """Those that run. wishes: not empty once someone wishes to leave. tied: they end when this process is
    killed, and hear nothing of the launcher that started it.

    Each has a group of its own, so that the terminal does not ask it a second time.
    """

    wishes: Sequence[float]
    tied: bool = False
    running: list[Process] = field(default_factory=list)
    _told: list[Process] = field(default_factory=list)

    def start(self, words: Sequence[str], log: Path | None = None) -> Process:
        """`python -m` with these words. log: where all that it says is appended, else to stderr."""
        with ExitStack() as opened:
            output = None if log is None else opened.enter_context(log.open("ab"))
            process = subprocess.Popen(  # noqa: S603 - this program itself
                [sys.executable, "-m", *words],
                stdin=subprocess.PIPE if self.tied else subprocess.DEVNULL,
                stdout=output or sys.__stderr__,
                stderr=output,
                process_group=0,
                env={**without_launcher(os.environ), _TIED: "1"} if self.tied else None,
            )
        self.running.append(process)
        return process

    def ended(self) -> list[Process]:
        """Those that came to their end since the last call, after a moment; the others are told of a
        wish.
        """
        time.sleep(_POLL_SECONDS)
        found = [process for process in self.running if process.poll() is not None]
        self.running = [process for process in self.running if process not in found]
        _let_go(found)
        for process in self.running if self.wishes else ():
            if process not in self._told:
                process.send_signal(signal.SIGINT)
                self._told.append(process)
        return found

    def kill(self) -> None:
        """All that run, and wait for them."""
        for process in self.running:
            process.kill()
            process.wait()
        _let_go(self.running)


def _let_go(processes: Sequence[Process]) -> None:
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()


@contextmanager
def children() -> Iterator[Children]:
    """None of them outlives the block."""
    with interruptible() as wishes:
        started = Children(wishes)
        try:
            yield started
        finally:
            started.kill()


def launched(words: Sequence[str]) -> int:
    """`fdet` with these words, to its end; its exit status."""
    with children() as own:
        process = own.start(["fdet", *words])
        while not own.ended():
            pass
        # It may have come to its end in the meantime.
        status: int = process.returncode
        return INTERRUPTED if own.wishes and status == 0 else status


def signal_of(status: int) -> str:
    """Of an exit status below 0, in words."""
    return f"signal {-status} ({signal.Signals(-status).name}; out of memory?)"


def end_with_launcher() -> None:
    """Where the one that started this process wants it so."""
    if _TIED in os.environ:
        # Ray starts its workers with this signal blocked, and what they start inherits that.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        threading.Thread(target=_end_with_input, daemon=True).start()


def _end_with_input() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)
