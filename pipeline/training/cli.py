"""The command line of `fdet train-heads`."""

from __future__ import annotations

import logging
import os
from typing import Annotated

from ..command import MASKS, MODEL, Assignments, ConfigFile, echo, opt, takes
from .options import TrainOptions


@takes
def train_command(
    *,
    config: ConfigFile = None,
    neck: Annotated[
        str | None, opt("neck: fpn, pafpn, bifpn, nas-fpn, vit-pyramid or identity", group=MODEL)
    ] = None,
    head: Annotated[
        str | None, opt("head: retinanet, fcos, tal, faster-rcnn or cascade-rcnn", group=MODEL)
    ] = None,
    masks: Annotated[bool, opt(MASKS, group=MODEL)] = False,
    adapters: Annotated[
        bool,
        opt(
            "with --source online: train small residual adapters after the frozen backbone's blocks too "
            "(backbone.adapters)",
            group=MODEL,
        ),
    ] = False,
    assignments: Assignments = (),
    options: TrainOptions,
) -> None:
    """Train neck and head on cached feature maps; neither images nor backbone are loaded, unless
    --source asks for them.

    Started by torchrun or srun, all processes train one model.
    """
    from ..machines.world import find_world
    from ..runs.config import load_config
    from .checks import check_training

    settings = load_config(
        config, neck=neck, head=head, masks=masks, adapters=adapters, assignments=assignments
    )
    check_training(settings, options)
    from ..runs.inspection import steps_after_training
    from .train import train

    logging.getLogger("fdet").setLevel(logging.INFO)
    summary = train(settings, options)
    if find_world(None, None, os.environ).rank:
        return  # only the first process prints
    best = f", {summary.skipped} damaged samples left out" if summary.skipped else ""
    if summary.best_ap is not None:
        ap50 = "" if summary.best_ap50 is None else f", AP50 {summary.best_ap50:.3f}"
        best += f", best AP {summary.best_ap:.3f}{ap50} (epoch {summary.best_epoch})"
    echo(
        f"{summary.steps} steps, {summary.seconds:.1f} s, waiting for data "
        f"{summary.waiting:.1%}{best}, {summary.out}"
    )
    for line in steps_after_training(summary.out):
        echo(line)
