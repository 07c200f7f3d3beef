"""The command line of `fdet ablate`."""

from __future__ import annotations

import logging
import shlex
import sys
from typing import Annotated

import typer

from ...command import echo, opt, takes
from .options import AblateOptions


@takes
def ablate_command(
    options: AblateOptions,
    dry_run: Annotated[bool, opt("list the trials: parameters, share, expected time")] = False,
) -> None:
    """Train a plan's trials on cached maps: a grid, a list or a random draw of necks, heads and settings.

    The same command goes on where it was interrupted, and runs only what is new after the plan has
    changed. A trial that fails is recorded with its reason, and the others go on; the exit status is then 1.
    """
    from .checks import check_ablation

    check_ablation(options)
    from rich.console import Console

    from .results import lines_of
    from .run import ablate, estimated, prepared
    from .state import RUNS
    from .table import result_table, summary, total_line, trial_table

    logging.getLogger("fdet").setLevel(logging.INFO)
    console = Console(width=None if sys.stdout.isatty() else 160)
    if dry_run:
        ready = prepared(options)
        seconds = estimated(ready, options)
        console.print(trial_table(ready, seconds))
        echo(total_line(ready, seconds))
        return
    ready = ablate(options)
    console.print(result_table(ready, lines_of(ready.trials, ready.rows())))
    out = ready.state.out
    echo(f"{summary(ready)}; {out / 'results.csv'}, results.json")
    echo(f"`fdet report {shlex.quote(str(out / RUNS))} --out report.html` compares them")
    if any(ready.state.status(trial) == "failed" for trial in ready.trials):
        raise typer.Exit(1)
