"""fdet predict: its options as the command line knows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ...command import Checkpoint, Device, argument, echo, opt, takes


@takes
def predict_command(
    run: Annotated[Path, argument("run directory")],
    images: Annotated[Sequence[Path], argument("image files and folders")],
    out: Annotated[Path, opt("folder to write to")],
    annotations: Annotated[
        Path | None, opt("COCO JSON: its ids, and its boxes next to the detections")
    ] = None,
    weights: Annotated[str | None, opt("as at extraction, where that took a file")] = None,
    second_weights: Annotated[
        str | None,
        opt("the same of the second backbone, where there is one", "--with-weights"),
    ] = None,
    class_embeddings: Annotated[
        Path | None,
        opt("other classes by their vectors, for a run trained with --class-embeddings"),
    ] = None,
    checkpoint: Annotated[Checkpoint, opt("which weights")] = Checkpoint.best,
    draw_above: Annotated[float, opt("lowest score that is drawn")] = 0.3,
    device: Device = "auto",
    threads: Annotated[int | None, opt("of torch on a CPU; default: the cache's")] = None,
) -> None:
    """Detect objects in image files: COCO result JSON and pictures."""
    from .predict import predict

    summary = predict(
        run,
        images,
        out,
        annotations=annotations,
        weights=weights,
        second_weights=second_weights,
        class_embeddings=class_embeddings,
        checkpoint=checkpoint.value,
        draw_above=draw_above,
        device=device,
        threads=threads,
    )
    for name, why in summary.failed.items():
        echo(f"failed: {name}: {why}", err=True)
    echo(f"{summary.images} images, {summary.detections} detections, {summary.out}")
    if summary.failed:
        raise typer.Exit(3)
