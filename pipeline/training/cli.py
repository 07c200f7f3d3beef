"""fdet train-heads: its options as the command line knows them."""

from __future__ import annotations

import logging
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ...cache.disk.objects import located
from ..command import MASKS, echo, opt


class Source(StrEnum):
    """Where a training step's pyramid comes from."""

    cached = "cached"
    online = "online"
    finetune = "finetune"
    scratch = "scratch"


class Residence(StrEnum):
    """Where samples stay."""

    auto = "auto"
    ram = "ram"
    device = "device"
    none = "none"


class OnCorrupt(StrEnum):
    """What a damaged sample does."""

    stop = "raise"
    skip = "skip"


def train_command(
    cache: Annotated[list[Path], typer.Argument(help="training cache; several are read as one")],
    out: Annotated[Path, opt("run directory to make")],
    val: Annotated[Path | None, opt("validation cache")] = None,
    second: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            help="cache of a second backbone, of the same images and views: its levels are joined with "
            "those of the first below the neck (neck.fusion); several are read as one",
        ),
    ] = None,
    val_second: Annotated[
        Path | None, typer.Option("--val-with", help="the second backbone's validation cache")
    ] = None,
    config: Annotated[Path | None, opt("TOML file of settings, or the name of a preset")] = None,
    neck: Annotated[str | None, opt("fpn, pafpn, bifpn, nas-fpn, vit-pyramid, identity")] = None,
    head: Annotated[str | None, opt("retinanet, fcos, tal, faster-rcnn, cascade-rcnn")] = None,
    masks: Annotated[bool, typer.Option("--masks", help=MASKS)] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="section.name=value, e.g. train.epochs=20")
    ] = None,
    annotations: Annotated[Path | None, opt("instead of the training cache's own")] = None,
    val_annotations: Annotated[Path | None, opt("instead of the validation cache's own")] = None,
    source: Annotated[
        Source,
        opt(
            "a backbone in the loop instead of the cached maps: online (frozen), finetune (trained "
            "from backbone.train_from on), scratch (from random weights)"
        ),
    ] = Source.cached,
    adapters: Annotated[
        bool,
        typer.Option(
            "--adapters",
            help="with --source online: train small residual adapters after the frozen backbone's blocks too "
            "(backbone.adapters)",
        ),
    ] = False,
    images: Annotated[Path | None, opt("image folder, for a backbone in the loop")] = None,
    val_images: Annotated[
        Path | None,
        opt(
            "of the validation images, for pictures of detections, --source finetune and --adapters"
        ),
    ] = None,
    weights: Annotated[str | None, opt("as at extraction, for a backbone in the loop")] = None,
    start: Annotated[
        Path | None,
        opt("run to begin with, e.g. heads on the cache first, then --source finetune"),
    ] = None,
    class_embeddings: Annotated[
        Path | None,
        opt(
            "safetensors file with a vector under each class's name, e.g. of a text encoder: scores are "
            "cosines with them, and evaluate and predict take others"
        ),
    ] = None,
    device: Annotated[str, opt("auto, cpu, cuda, cuda:1")] = "auto",
    threads: Annotated[int | None, opt("of torch on a CPU; default: torch's")] = None,
    resume: Annotated[bool, opt("go on with an interrupted run")] = False,
    resident: Annotated[
        Residence,
        opt("keep encoded samples in memory after their first reading; auto: if they fit"),
    ] = Residence.auto,
    memory_limit: Annotated[
        str | None,
        opt(
            "e.g. 4GiB, of each process or its accelerator: micro-batches, checkpointed activations and "
            "residency are chosen by trials so that it fits"
        ),
    ] = None,
    on_corrupt: Annotated[
        OnCorrupt, opt("skip: train without damaged samples, and count them")
    ] = OnCorrupt.stop,
    track: Annotated[
        list[str] | None, opt("tensorboard, wandb or mlflow: show figures and pictures there too")
    ] = None,
) -> None:
    """Train neck and head on cached feature maps; neither images nor backbone are loaded, unless
    --source asks for them.

    Started by torchrun or srun, all processes train one model.
    """
    from ...cache.disk.sizes import parse_bytes
    from ..machines.world import find_world
    from ..runs.config import load_config
    from .options import TrainOptions
    from .train import train

    logging.getLogger("fdet").setLevel(logging.INFO)
    options = TrainOptions(
        cache=[located(path) for path in cache],
        out=out,
        val=val and located(val),
        second=[located(path) for path in second or ()],
        val_second=val_second and located(val_second),
        annotations=annotations,
        val_annotations=val_annotations,
        source=source.value,
        images=images,
        val_images=val_images,
        weights=weights,
        start=start,
        class_embeddings=class_embeddings,
        device=device,
        threads=threads,
        resume=resume,
        resident=resident.value,
        memory_limit=None if memory_limit is None else parse_bytes(memory_limit, "--memory-limit"),
        on_corrupt=on_corrupt.value,
        track=track or (),
    )
    settings = load_config(
        config, neck=neck, head=head, masks=masks, adapters=adapters, assignments=assignments or ()
    )
    summary = train(settings, options)
    if find_world(None, None, os.environ).rank:
        return  # the first process speaks for all
    best = f", {summary.skipped} damaged samples left out" if summary.skipped else ""
    if summary.best_ap is not None:
        best += f", best AP {summary.best_ap:.3f} (epoch {summary.best_epoch})"
    echo(
        f"{summary.steps} steps, {summary.seconds:.1f} s, waiting for data "
        f"{summary.waiting:.1%}{best}, {summary.out}"
    )
