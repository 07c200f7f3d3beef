"""The end of a training: what was reached, for which classes, and the command that goes on from there."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...cache.errors import FdetError
from ...cache.wording import counted
from ..machines.duration import shown_time
from ..runs.history import evaluation_after, read_history
from ..runs.info import RunInfo
from ..runs.inspection import HEADING, steps_after_training
from ..runs.names import shell_word
from ..runs.points import class_lines, points
from .options import TrainOptions

if TYPE_CHECKING:
    from .loop import TrainSummary


def closing_lines(summary: TrainSummary, options: TrainOptions) -> Iterator[str]:
    """Yield the lines with which a training ends, the next command last."""
    yield described(summary)
    yield from _class_lines(summary)
    yield from steps_after_training(summary.out) or [HEADING]
    yield f"- `{next_command(options)}`"


def described(summary: TrainSummary) -> str:
    """Return the line on the steps and the best evaluation of a training."""
    best = f", {counted(summary.skipped, 'damaged sample')} left out" if summary.skipped else ""
    if summary.best_ap is not None:
        ap50 = "" if summary.best_ap50 is None else f", AP50 {points(summary.best_ap50)}"
        best += f", best AP {points(summary.best_ap)}{ap50} (epoch {summary.best_epoch})"
    return f"{_steps(summary)}{best}, {summary.out}"


def _steps(summary: TrainSummary) -> str:
    """Return the steps that this command did, and their time; a resumed run may have none left."""
    steps, begun = counted(summary.steps, "step"), summary.begun
    if begun and begun == summary.steps:
        return f"{steps}, all done before (--set train.epochs=N makes it longer)"
    part = f"steps {begun + 1} to {summary.steps}" if begun else steps
    return f"{part}, {shown_time(summary.seconds)}, waiting for data {summary.waiting:.1%}"


def next_command(options: TrainOptions) -> str:
    """Return the command that looks closer at a run: its evaluation, or detections where it has no --val.

    Raises InputError, CorruptCache where the run cannot be read.
    """
    run = shlex.quote(str(options.out))
    if options.val is None:
        return f"fdet predict {run} PHOTOS/ --out found/"
    info = RunInfo.read(options.out)
    own = info.own_backbone
    given = {
        "--with": options.val_second,
        "--annotations": options.val_annotations,
        "--format": options.format if options.val_annotations else None,
        "--split": options.val_split,
        "--images": (options.val_images or options.images) if own else None,
        "--weights": options.weights if info.config.backbone.adapters else None,
    }
    words = [f"fdet evaluate {run}", shell_word(options.val)]
    words += [f"{name} {shell_word(value)}" for name, value in given.items() if value]
    return " ".join(words)


def _class_lines(summary: TrainSummary) -> Iterator[str]:
    """Yield the lines on the classes at the best evaluation; none where the log cannot be read."""
    try:
        best = evaluation_after(read_history(summary.out), summary.best_epoch)
    except FdetError:
        return
    if best is not None:
        yield from class_lines(best.metrics.get("per_class", {}))
