"""The end of a fit: where everything is, how good it is, what to do next, and all commands to copy."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ....cache.errors import FdetError
from ...machines.duration import shown_time
from ...runs.inspection import inspected, steps_after_training
from ...runs.points import class_lines, points
from .folder import COMMANDS, FOUND, REPORT, RUN
from .session import Session
from .words import command_text


def command_lines(current: Session) -> list[str]:
    """Return the commands of all steps that made something, as they ran."""
    return [command_text(step.words) for step in current.state.done.values()]


def closing_lines(current: Session) -> Iterator[str]:
    """Yield the last lines of a fit."""
    out, options = current.out, current.options
    run = out / RUN
    yield ""
    of = "" if options.time is None else f" of {shown_time(options.time)}"
    yield from _quality(current, f" after {shown_time(current.used)}{of}")
    yield f"detector {run}, pictures {out / FOUND / 'pictures'}, report {out / REPORT}"
    yield from steps_after_training(run)
    yield f"next: fdet predict {shlex.quote(str(run))} PHOTOS/ --out found/"
    yield ""
    yield f"the commands ({out / COMMANDS}):"
    yield from command_lines(current)


def _quality(current: Session, when: str) -> Iterator[str]:
    """Yield the AP of the detector, and the classes for which it is highest and lowest."""
    try:
        scores = inspected(current.out / RUN).scores
    except (FdetError, OSError):
        scores = None
    if scores is None:
        yield f"done{when}"
        return
    ap50 = "" if scores.ap50 is None else f", AP50 {points(scores.ap50)}"
    yield f"AP {points(scores.ap)}{ap50}{when}"
    yield from class_lines(scores.per_class)
