"""The other commands, run as child processes of this program, which Ctrl-C reaches too."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Protocol

from ....cache.errors import InputError
from ...machines.interrupt import interruptible
from ...machines.launching import tied_environment

_POLL_SECONDS = 0.05
# What the driver of an accelerator makes: NVIDIA's, in Windows' Linux, AMD's.
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")

# What a process is asked whether it can use a device.
_USABLE = """
import sys
from fdet.cache.errors import FdetError
from fdet.pipeline.machines.devices import pick_device
try:
    pick_device(sys.argv[1])
except FdetError as error:
    sys.exit(str(error))
"""

Lines = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a command. interrupted: whether it was asked to stop, which it may not have done in time."""

    status: int
    interrupted: bool = False


class Run(Protocol):
    """A function that runs a command to its end. lines: what takes the lines of its standard output."""

    def __call__(self, words: Sequence[str], lines: Lines | None = None) -> Ended: ...


def run_command(words: Sequence[str], lines: Lines | None = None) -> Ended:
    """Run `fdet` with the arguments `words` in this process group; it writes to the same terminal.

    A stop request is passed on once, as only Ctrl-C in a terminal reaches both. A second one kills the
    command, which every command survives without damage, and raises KeyboardInterrupt.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with interruptible() as stop_requests, _started(words, lines is not None) as process:
        try:
            reader = _reader(process, lines)
            asked = False
            while process.poll() is None:
                time.sleep(_POLL_SECONDS)
                if stop_requests and not asked:
                    process.send_signal(signal.SIGINT)
                    asked = True
            reader.join()
        except BaseException:
            process.kill()
            raise
        return Ended(process.returncode, bool(stop_requests))


def _started(words: Sequence[str], read: bool) -> subprocess.Popen[str]:
    # -P: a typer.py in the current folder, which may be one of data, is not imported.
    return subprocess.Popen(  # noqa: S603 - this program itself
        [sys.executable, "-P", "-m", "fdet", *words],
        stdin=subprocess.PIPE,  # It ends with this process, although that is killed.
        stdout=subprocess.PIPE if read else None,
        env=tied_environment(),
        text=True,
        errors="replace",
    )


def _reader(process: subprocess.Popen[str], lines: Lines | None) -> Thread:
    """Return a thread that reads the output, so that the command never waits for a reader."""

    def read() -> None:
        with suppress(ValueError):  # a stream that is closed
            for line in process.stdout or ():
                if lines is not None:
                    lines(line.rstrip("\n"))

    thread = Thread(target=read, daemon=True)
    thread.start()
    return thread


def check_usable(device: str) -> None:
    """Raise InputError where torch, in a process of its own, cannot use a device that was named."""
    if device in ("auto", "cpu"):
        return
    command = [sys.executable, "-P", "-c", _USABLE, device]
    asked = subprocess.run(  # noqa: S603
        command, check=False, capture_output=True, text=True, errors="replace"
    )
    if asked.returncode:
        lines = asked.stderr.splitlines() or [f"--device {device}: not usable here"]
        raise InputError(lines[-1])


def has_accelerator(device: str) -> bool:
    """Return whether a command would run on an accelerator. device: the option --device.

    torch is asked in a process of its own, whose memory is free when the other commands run.
    """
    if device != "auto":
        return device != "cpu"
    if not any(Path(path).exists() for path in _DRIVERS):
        return False
    question = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    command = [sys.executable, "-P", "-c", question]
    return subprocess.run(command, check=False).returncode == 0  # noqa: S603
