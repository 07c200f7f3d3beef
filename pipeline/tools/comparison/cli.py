"""The command line of `fdet compare`."""

from __future__ import annotations

import logging

import typer

from ...command import echo, takes
from ...machines.interrupt import INTERRUPTED
from .options import CompareOptions


@takes
def compare_command(options: CompareOptions) -> None:
    """Train one configuration from several sources, and compare what each reaches and costs.

    Each run is kept; the same command goes on where it was interrupted.
    """
    from .checks import check_comparison

    check_comparison(options)
    from .compare import compare
    from .runs import RunEnded

    logging.getLogger("fdet").setLevel(logging.INFO)
    try:
        report = compare(options)
    except RunEnded as ended:
        if ended.status == INTERRUPTED:
            echo(
                "fdet: the same `fdet compare` command goes on with this run and the others",
                err=True,
            )
        raise typer.Exit(ended.status) from ended
    echo(report.to_markdown())
    echo(f"written: {options.out / 'compare.md'}, compare.json, compare.png")
