"""A pseudo-terminal of 80 columns: what a command prints there, as its user sees it."""

import fcntl
import os
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COLUMNS, LINES = 80, 40
_BAR = tuple("━╸╺")
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# What would change how wide, how colourful or how a user's machine prints.
_LEFT_OUT = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"}


@dataclass(frozen=True)
class Shown:
    """rows: the lines that stay. frames: the states of progress lines, in their order."""

    status: int
    rows: list[str]
    frames: list[str]

    def row(self, start: str) -> str:
        """The only row that begins so."""
        (found,) = [row for row in self.rows if row.startswith(start)]
        return found

    def before(self, start: str) -> list[str]:
        """The rows before the one that begins so."""
        return self.rows[: self.rows.index(self.row(start))]


class Terminal:
    """Runs commands in a folder."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
        path = f"{programs}{os.pathsep}{kept['PATH']}"
        self._environment = {**kept, "PATH": path, "TERM": "xterm-256color"}

    def run(self, *words: str, interrupt: str = "") -> Shown:
        """Run a command; interrupt it once what it has printed matches an expression."""
        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        process = subprocess.Popen(
            words,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=self.folder,
            env=self._environment,
            start_new_session=True,
        )
        os.close(slave)
        printed, due = b"", bool(interrupt)
        while part := _read(master):
            printed += part
            if due and re.search(interrupt, printed.decode(errors="ignore")):
                process.send_signal(signal.SIGINT)
                due = False
        os.close(master)
        return _shown(process.wait(), printed.decode())


def _read(master: int) -> bytes:
    """What is printed next; nothing once nobody can print any more."""
    try:
        return os.read(master, 2**16)
    except OSError:
        return b""


def _shown(status: int, printed: str) -> Shown:
    lines = _CODES.sub("", printed).replace("\r", "\n").split("\n")
    texts = [line.rstrip() for line in lines if line.strip()]
    return Shown(
        status,
        [text for text in texts if not text.startswith(_BAR)],
        [text for text in texts if text.startswith(_BAR)],
    )


def too_wide(rows: Sequence[str]) -> list[str]:
    """The rows that the terminal would break."""
    return [row for row in rows if len(row) > COLUMNS]
