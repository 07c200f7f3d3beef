"""The command line of `fdet evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..command import cache_argument, echo, opt, takes
from ..exported.runtimes import is_exported
from ..zoo.option import run_argument
from .options import EvaluateOptions


@takes
def evaluate_command(
    run: Annotated[Path, run_argument("run directory, or exported file")],
    cache: Annotated[Path, cache_argument("cache to evaluate on")],
    options: EvaluateOptions,
    out: Annotated[Path | None, opt("folder for the JSON; default: that of the run")] = None,
) -> None:
    """Measure the COCO AP of a run over exactly the images in a cache."""
    from .checks import check_evaluation

    check_evaluation(run, cache, options)
    from ..runs.inspection import steps_after_evaluation
    from .evaluate import evaluate_run, write_evaluation
    from .pictures import draw_evaluation
    from .table import metrics_table, unfinished_line

    metrics, results = evaluate_run(run, cache, options)
    # The figures are printed first: a full disk does not lose them.
    echo(metrics_table(metrics))
    if metrics.unfinished is not None:
        echo(unfinished_line(run, metrics.unfinished))
    checkpoint, second = options.checkpoint.value, options.second
    folder = out or (run.parent if is_exported(run) else run)
    written = write_evaluation(folder, run, checkpoint, cache, metrics, results, second)
    echo(f"written: {written}")
    for picture in draw_evaluation(written, metrics):
        echo(f"written: {picture}")
    if is_exported(run):
        return
    of = metrics.to_json()
    for line in steps_after_evaluation(run, checkpoint, cache, of, options.images):
        echo(line)
