"""The command line of `fdet evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from ..command import (
    Checkpoint,
    Device,
    Format,
    Threads,
    argument,
    cache_argument,
    cache_opt,
    echo,
    opt,
    takes,
)
from ..dataset.data_name import named
from .engines import FASTEST


@takes
def evaluate_command(
    run: Annotated[Path, argument("run directory")],
    cache: Annotated[Path, cache_argument("cache to evaluate on")],
    second: Annotated[
        Path | None, cache_opt("the second backbone's cache, for a run trained on two", "--with")
    ] = None,
    annotations: Annotated[
        Path | None, opt("annotation file to use instead of the cache's")
    ] = None,
    format: Format = None,
    split: Annotated[str | None, opt("split of --annotations")] = None,
    images: Annotated[
        Path | None, opt("image folder, for a run that trained its backbone or adapters too")
    ] = None,
    weights: Annotated[
        str | None,
        opt("weights file of the backbone, for a run with adapters, if extraction was given one"),
    ] = None,
    class_embeddings: Annotated[
        Path | None,
        opt("file with the vectors of other classes, for a run trained with --class-embeddings"),
    ] = None,
    checkpoint: Annotated[Checkpoint, opt("which weights of the run to use")] = Checkpoint.best,
    out: Annotated[Path | None, opt("folder for the JSON; default: the run directory")] = None,
    device: Device = "auto",
    threads: Threads = None,
    engine: Annotated[
        str, opt("library that computes AP: faster-coco-eval or pycocotools")
    ] = FASTEST,
) -> None:
    """Measure the COCO AP of a run over exactly the images in a cache."""
    from .checks import check_evaluation

    given: dict[str, Any] = {
        "second": second,
        "annotations": named(annotations, format, split),
        "images": images,
        "weights": weights,
        "checkpoint": checkpoint.value,
        "device": device,
        "threads": threads,
        "engine": engine,
        "class_embeddings": class_embeddings,
    }
    check_evaluation(run, cache, **given)
    from ..runs.inspection import steps_after_evaluation
    from .evaluate import evaluate_run, write_evaluation
    from .table import metrics_table

    metrics, results = evaluate_run(run, cache, **given)
    written = write_evaluation(out or run, run, checkpoint.value, cache, metrics, results, second)
    echo(metrics_table(metrics))
    echo(f"written: {written}")
    for line in steps_after_evaluation(run, checkpoint.value, cache, metrics.to_json()):
        echo(line)
