"""Tables for people: what an ablation will take, and what it found."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from ....cache.wording import counted
from ...machines.duration import shown_time
from ...runs.points import points
from .results import Line
from .run import Prepared, by_status


def trial_table(ready: Prepared, seconds: Sequence[float]) -> Table:
    """Return a table of every trial: what differs, parameters, trained share, and the time it is to take."""
    table = Table(box=None, header_style="bold")
    for title in ready.plan.axes or ("",):
        table.add_column(title)
    for title in ("seed", "trained", "share", "steps", "seconds", ""):
        table.add_column(title, justify="right")
    for trial, took in zip(ready.trials, seconds, strict=True):
        status = ready.state.status(trial)
        waits = status == "waiting"
        table.add_row(
            *(trial.labels.values() or ("base",)),
            *(str(trial.seed), _millions(trial.trained)),
            *(f"{trial.trained / trial.total:.1%}", str(trial.steps)),
            *(f"{took:.0f}" if waits else "-", "" if waits else status),
        )
    return table


def total_line(ready: Prepared, seconds: Sequence[float]) -> str:
    """Return a line on the time that the trials left to run will take."""
    return (
        f"{counted(len(ready.trials), 'trial')}, {len(ready.waiting)} to run: about "
        f"{shown_time(sum(seconds))} one after the other, estimated from a few steps of each size; parallel "
        "jobs take less, the start of each process takes some seconds more"
    )


def result_table(ready: Prepared, lines: Sequence[Line]) -> Table:
    """Return a table of the lines, the best first, with the mean and the spread of AP over the seeds."""
    table = Table(box=None, header_style="bold")
    for title in ready.plan.axes or ("",):
        table.add_column(title)
    for title in ("AP", "min", "max", "seeds", "trained", "share", "seconds", ""):
        table.add_column(title, justify="right")
    for line in lines:
        ap = (
            ["-"] * 3
            if line.ap is None
            else [points(line.ap.mean), points(line.ap.minimum), points(line.ap.maximum)]
        )
        others = sorted({state for state in line.states if state != "finished"})
        table.add_row(
            *(line.labels.values() or ("base",)),
            *(*ap, str(line.seeds), _millions(line.trained), f"{line.share:.1%}"),
            *("-" if line.seconds is None else f"{line.seconds:.0f}", ", ".join(others)),
        )
    return table


def summary(ready: Prepared) -> str:
    """Return a text such as `7 of 12 trials finished, 1 failed`."""
    return by_status(ready.state.status(trial) for trial in ready.trials)


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"
