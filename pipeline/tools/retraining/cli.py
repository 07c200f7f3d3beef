"""The command line of `fdet retrain-classifier`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

from ....cache.wording import counted
from ...command import Assignments, echo, takes
from ...training.options import TrainOptions
from ...zoo.option import run_argument
from .settings import RetrainSettings

# The options that it shares with a training run.
_TAKEN = (
    *("cache", "out", "val", "second", "val_second", "annotations", "val_annotations"),
    *("weights", "resume", "device", "threads"),
)


@takes
def retrain_command(
    run: Annotated[Path, run_argument("finished run of train-heads on cached maps")],
    options: Annotated[TrainOptions, _TAKEN],
    settings: RetrainSettings,
    assignments: Assignments = (),
) -> None:
    """Retrain the last classifier layer of a finished run with a class-balanced loss, in minutes.

    This is stage 2 for long-tailed data.
    """
    from .checks import check_retraining

    check_retraining(run, options, settings, assignments)
    from ...evaluation.table import change_table
    from .retrain import retrain

    logging.getLogger("fdet").setLevel(logging.INFO)
    done = retrain(run, options, settings, assignments)
    if done.before is not None and done.after is not None:
        echo(change_table({"stage 1": done.before, "stage 2": done.after}))
    echo(f"{counted(done.summary.steps, 'step')}, {done.summary.seconds:.1f} s, {done.summary.out}")
