"""The command line of `fdet predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ...command import Checkpoint, Device, Format, argument, echo, opt, takes
from ...dataset.data_name import named


@takes
def predict_command(
    run: Annotated[Path, argument("run directory")],
    images: Annotated[Sequence[Path], argument("image files and folders")],
    out: Annotated[Path, opt("folder to write to")],
    annotations: Annotated[
        Path | None,
        opt("data set whose ids to use, and whose boxes to draw next to the detections"),
    ] = None,
    format: Format = None,
    split: Annotated[str | None, opt("split of --annotations")] = None,
    weights: Annotated[
        str | None, opt("weights file of the backbone, if extraction was given one")
    ] = None,
    second_weights: Annotated[
        str | None,
        opt("weights file of a second backbone, if extraction was given one", "--with-weights"),
    ] = None,
    class_embeddings: Annotated[
        Path | None,
        opt("file with the vectors of other classes, for a run trained with --class-embeddings"),
    ] = None,
    checkpoint: Annotated[Checkpoint, opt("which weights of the run to use")] = Checkpoint.best,
    draw_above: Annotated[float, opt("lowest score that is drawn")] = 0.3,
    device: Device = "auto",
    threads: Annotated[int | None, opt("torch threads on a CPU; default: the cache's")] = None,
) -> None:
    """Detect objects in image files, and write COCO result JSON and pictures."""
    from .checks import check_prediction

    given: dict[str, Any] = {
        "annotations": named(annotations, format, split),
        "weights": weights,
        "second_weights": second_weights,
        "class_embeddings": class_embeddings,
        "checkpoint": checkpoint.value,
        "draw_above": draw_above,
        "device": device,
        "threads": threads,
    }
    check_prediction(run, images, out, **given)
    from .predict import predict

    summary = predict(run, images, out, **given)
    for name, why in summary.failed.items():
        echo(f"failed: {name}: {why}", err=True)
    echo(f"{summary.images} images, {summary.detections} detections, {summary.out}")
    if summary.failed:
        raise typer.Exit(3)
