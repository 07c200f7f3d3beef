"""The end of a fit: where everything is, how good it is, what to do next, and all commands to copy."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ....cache.disk.publish import publish_bytes
from ....cache.errors import FdetError
from ...machines.duration import shown_time
from ...runs.inspection import inspected, steps_after_training
from .session import COMMANDS, FOUND, REPORT, RUN, Session
from .words import shown


def command_lines(current: Session) -> list[str]:
    """Return the commands of all steps that made something, as they ran."""
    return [shown(step.words) for step in current.state.done.values()]


def write_commands(current: Session) -> None:
    """Write all commands as a script. Raises StorageError."""
    path = current.out / COMMANDS
    lines = ["#!/bin/sh", "set -e", f"cd {shlex.quote(current.state.folder)}"]
    for name, step in current.state.done.items():
        # These end with status 3 where there is something to remark.
        remarks = step.status != 0 or name.startswith("check")
        lines.append(f"{shown(step.words)}{' || [ $? = 3 ]' if remarks else ''}")
    publish_bytes(path, "\n".join([*lines, ""]).encode(), existing="replace")
    path.chmod(0o755)


def closing_lines(current: Session) -> Iterator[str]:
    """Yield the last lines of a fit."""
    out, options = current.out, current.options
    run = out / RUN
    yield ""
    of = "" if options.time is None else f" of {shown_time(options.time)}"
    yield f"{_quality(current)} after {shown_time(current.used)}{of}"
    yield f"detector {run}, pictures {out / FOUND / 'pictures'}, report {out / REPORT}"
    yield from steps_after_training(run)
    yield ""
    yield f"the commands ({out / COMMANDS}):"
    yield from command_lines(current)


def _quality(current: Session) -> str:
    try:
        scores = inspected(current.out / RUN).scores
    except (FdetError, OSError):
        scores = None
    if scores is None:
        return "done"
    ap50 = "" if scores.ap50 is None else f", AP50 {scores.ap50:.3f}"
    return f"AP {scores.ap:.3f}{ap50}"
