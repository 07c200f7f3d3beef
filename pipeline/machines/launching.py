"""Child processes of this program; Ctrl-C asks each of them once to save and stop."""

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
# This variable is set for a process whose standard input ends when its launcher does.
_TIED = "FDET_ENDS_WITH_ITS_INPUT"

Process = subprocess.Popen[bytes]


class Started(Protocol):
    """A process on some machine."""

    @property
    def returncode(self) -> int | None:
        """The exit status, or None until the process has ended."""


class Launcher(Protocol):
    """A launcher starts processes and reports which of them have ended.

    stop_requests: the times of the stop requests, empty until there is one.
    """

    @property
    def stop_requests(self) -> Sequence[float]: ...

    def start(self, words: Sequence[str], log: Path) -> Started: ...

    def ended(self) -> Sequence[Started]: ...


@dataclass
class Children:
    """A launcher of processes on this machine.

    stop_requests: the times of the stop requests, empty until there is one. tied: whether the processes end
    when this one is killed; they then do not see the variables of the launcher that started it (torchrun,
    srun). running: the processes that run. Each has a process group of its own, so that the terminal does not
    send it Ctrl-C in addition.
    """

    stop_requests: Sequence[float]
    tied: bool = False
    running: list[Process] = field(default_factory=list)
    _signalled: list[Process] = field(default_factory=list)

    def start(self, words: Sequence[str], log: Path | None = None) -> Process:
        """Start `python -m` with the arguments `words`; nothing is imported from the current folder.

        log: the file that its output is appended to; None for stderr.
        """
        with ExitStack() as opened:
            output = None if log is None else opened.enter_context(log.open("ab"))
            process = subprocess.Popen(  # noqa: S603 - this program itself
                [sys.executable, "-P", "-m", *words],
                stdin=subprocess.PIPE if self.tied else subprocess.DEVNULL,
                stdout=output or sys.__stderr__,
                stderr=output,
                process_group=0,
                env=tied_environment() if self.tied else None,
            )
        self.running.append(process)
        return process

    def ended(self) -> list[Process]:
        """Wait a moment, and return the processes that have ended since the last call.

        The others are asked to stop, once each, where there is a stop request.
        """
        time.sleep(_POLL_SECONDS)
        found = [process for process in self.running if process.poll() is not None]
        self.running = [process for process in self.running if process not in found]
        _close_inputs(found)
        for process in self.running if self.stop_requests else ():
            if process not in self._signalled:
                process.send_signal(signal.SIGINT)
                self._signalled.append(process)
        return found

    def kill(self) -> None:
        """Kill all processes that run, and wait for their end."""
        for process in self.running:
            process.kill()
            process.wait()
        _close_inputs(self.running)


def _close_inputs(processes: Sequence[Process]) -> None:
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()


@contextmanager
def children() -> Iterator[Children]:
    """Yield a launcher whose processes are killed at the end of the block, and end if this one is killed."""
    with interruptible() as stop_requests:
        started = Children(stop_requests, tied=True)
        try:
            yield started
        finally:
            started.kill()


def launched(words: Sequence[str]) -> int:
    """Run `fdet` with the arguments `words` to its end, and return its exit status."""
    with children() as own:
        process = own.start(["fdet", *words])
        while not own.ended():
            pass
        # The process may have finished with status 0 before the stop request reached it.
        status: int = process.returncode
        return INTERRUPTED if own.stop_requests and status == 0 else status


def signal_of(status: int) -> str:
    """Return the name of the signal behind an exit status below 0, with a hint at its cause."""
    return f"signal {-status} ({signal.Signals(-status).name}; out of memory?)"


def tied_environment() -> dict[str, str]:
    """Return the environment of a process that ends once its input, a pipe of this one, is closed."""
    return {**without_launcher(os.environ), _TIED: "1"}


def end_with_launcher() -> None:
    """End this process with its launcher, where that has asked for it."""
    if os.environ.pop(_TIED, None) is not None:  # A process that this one starts has another input.
        # Ray starts its workers with this signal blocked, and their child processes inherit that.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        threading.Thread(target=_end_with_input, daemon=True).start()


def _end_with_input() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)
