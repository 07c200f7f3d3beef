"""The command line of `fdet predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ...command import argument, echo, opt, takes
from .options import PredictOptions


@takes
def predict_command(
    run: Annotated[Path, argument("run directory")],
    images: Annotated[Sequence[Path], argument("image files and folders")],
    out: Annotated[Path, opt("folder to write to")],
    options: PredictOptions,
) -> None:
    """Detect objects in image files, and write COCO result JSON and pictures."""
    from .checks import check_prediction

    check_prediction(run, images, out, options)
    from .predict import predict

    summary = predict(run, images, out, options)
    for name, why in summary.failed.items():
        echo(f"failed: {name}: {why}", err=True)
    echo(f"{summary.images} images, {summary.detections} detections, {summary.out}")
    if summary.failed:
        raise typer.Exit(3)
