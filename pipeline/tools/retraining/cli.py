"""fdet retrain-classifier: its options as the command line knows them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ...command import defaults_of, echo, opt
from .settings import RetrainSettings

_D = defaults_of(RetrainSettings)


def retrain_command(
    run: Annotated[Path, typer.Argument(help="finished run of train-heads on cached maps")],
    cache: Annotated[list[Path], typer.Argument(help="training cache; several are read as one")],
    out: Annotated[Path, opt("run directory to make")],
    val: Annotated[Path | None, opt("validation cache")] = None,
    second: Annotated[
        list[Path] | None,
        typer.Option("--with", help="the second backbone's cache, for a run trained on two"),
    ] = None,
    val_second: Annotated[
        Path | None, typer.Option("--val-with", help="the second backbone's validation cache")
    ] = None,
    annotations: Annotated[Path | None, opt("instead of the training cache's own")] = None,
    val_annotations: Annotated[Path | None, opt("instead of the validation cache's own")] = None,
    epochs: Annotated[int, opt("passes over the images")] = _D["epochs"],
    lr: Annotated[float, opt("the peak learning rate, of AdamW")] = _D["lr"],
    batch_size: Annotated[int | None, opt("images a step; default: the run's")] = _D["batch_size"],
    class_balance: Annotated[
        float, opt("beta of the effective number of samples; 0 weighs all classes alike")
    ] = _D["class_balance"],
    samplings: Annotated[
        int, opt("of box heads: how often RoIs are drawn in each view of an image")
    ] = _D["samplings"],
    seed: Annotated[int | None, opt("default: the run's")] = _D["seed"],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.name=value, e.g. head.max_detections=300"),
    ] = None,
    device: Annotated[str, opt("auto, cpu, cuda, cuda:1")] = "auto",
    threads: Annotated[int | None, opt("of torch on a CPU; default: torch's")] = None,
    resume: Annotated[bool, opt("go on with an interrupted run")] = False,
) -> None:
    """Stage 2 for long-tailed data: train only the last classifier layer of a finished run, with a
    class-balanced loss, in minutes.
    """
    from ...evaluation.table import change_table
    from ...training.options import TrainOptions
    from .retrain import retrain

    logging.getLogger("fdet").setLevel(logging.INFO)
    options = TrainOptions(
        cache=cache,
        out=out,
        val=val,
        second=second or (),
        val_second=val_second,
        annotations=annotations,
        val_annotations=val_annotations,
        device=device,
        threads=threads,
        resume=resume,
    )
    settings = RetrainSettings(epochs, lr, batch_size, class_balance, samplings, seed)
    done = retrain(run, options, settings, assignments or ())
    if done.before is not None and done.after is not None:
        echo(change_table({"stage 1": done.before, "stage 2": done.after}))
    echo(f"{done.summary.steps} steps, {done.summary.seconds:.1f} s, {done.summary.out}")
