"""fdet compare: its options as the command line knows them."""

from __future__ import annotations

import logging

import typer

from ...command import echo, takes
from .options import CompareOptions


@takes
def compare_command(options: CompareOptions) -> None:
    """Train one configuration from several sources: what each reaches, and what each costs.

    Each run is kept; the same command goes on where it was interrupted.
    """
    from .compare import compare
    from .runs import RunEnded

    logging.getLogger("fdet").setLevel(logging.INFO)
    try:
        report = compare(options)
    except RunEnded as ended:
        raise typer.Exit(ended.status) from ended
    echo(report.to_markdown())
    echo(f"written: {options.out / 'compare.md'}, compare.json, compare.png")
