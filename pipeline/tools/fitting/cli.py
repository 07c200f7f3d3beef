"""The command line of `fdet fit`."""

from __future__ import annotations

import logging

import typer

from ...command import echo, takes
from ...machines.interrupt import INTERRUPTED
from .options import FitOptions


@takes
def fit_command(options: FitOptions) -> None:
    """Make a detector of any data set: split and check it, extract, train, evaluate, draw and report.

    Options that are given are kept; all else is chosen from the data, the room and the time. The commands
    that do the work are printed, to copy. Run the same command to continue where it was interrupted. All
    options may change until anything is extracted; --config, --set, --time and --memory-limit until training
    begins; --device and --threads between these steps. Data that have changed since then need another --out.
    """
    from .fit import fit
    from .session import StepFailed, StepInterrupted

    logging.getLogger("fdet").setLevel(logging.INFO)
    try:
        fit(options)
    except StepFailed as error:
        echo(f"fdet: {error}", err=True)
        raise typer.Exit(error.status) from error
    except StepInterrupted as error:
        echo("fdet: run the same command to continue", err=True)
        raise typer.Exit(INTERRUPTED) from error
    except KeyboardInterrupt as error:
        echo(
            "fdet: interrupted; what was finished is kept; run the same command to continue",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from error
