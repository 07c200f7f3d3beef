"""The command line of `fdet predict`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ...command import argument, echo, opt, takes
from ...machines.interrupt import INTERRUPTED
from ...zoo.option import run_argument
from .options import PredictOptions


@takes
def predict_command(
    run: Annotated[Path, run_argument("run directory, or exported file")],
    images: Annotated[Sequence[Path], argument("image files, folders of images, and video files")],
    out: Annotated[Path, opt("folder to write to")],
    options: PredictOptions,
) -> None:
    """Detect objects in images and videos; the same command goes on after an interruption."""
    from .checks import check_prediction

    check_prediction(run, images, out, options)
    logging.getLogger("fdet").setLevel(logging.INFO)
    from .predict import predict
    from .summary import lines_of

    try:
        summary = predict(run, images, out, options)
    except KeyboardInterrupt as error:
        echo("\nfdet: interrupted; what was found is kept: the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED) from error
    for name, why in summary.failed.items():
        echo(f"failed: {name}: {why}", err=True)
    for line in lines_of(summary):
        echo(line)
    if summary.failed:
        raise typer.Exit(3)
