"""Standard output and error that never end a command: they replace what they cannot encode, and a reader
that goes away, as `head` does, leaves the command to its work.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any


class _LeftAlone(io.FileIO):
    """A file that accepts everything, though nobody may read it any more."""

    def write(self, data: Any, /) -> int:
        """Write the bytes, or drop them where the pipe is closed; return how many were taken."""
        try:
            return super().write(data)
        except BrokenPipeError:
            # Child processes inherit the descriptor, and libraries in C write to it themselves.
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return memoryview(data).nbytes


def use_tolerant_streams() -> None:
    """Replace sys.stdout and sys.stderr by streams on the same descriptors that no text can break.

    One that is closed, or has no descriptor, stays as it is.
    """
    for name, errors in (("stdout", "replace"), ("stderr", "backslashreplace")):
        stream = getattr(sys, name)
        try:
            descriptor = stream.fileno()
        except (AttributeError, OSError, ValueError):
            continue
        stream.flush()
        setattr(sys, name, _tolerant(stream, descriptor, errors))


def _tolerant(stream: io.TextIOWrapper, descriptor: int, errors: str) -> io.TextIOWrapper:
    raw = _LeftAlone(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        # Python's own stream has no buffer either where it was asked for none.
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
