"""What can be refused of stage 2 before torch is imported: the run, options, settings, names, paths."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ....cache.errors import InputError
from ...machines.world import find_world
from ...runs.history import is_finished
from ...runs.info import RunInfo
from ...training.checks import check_training
from ...training.options import TrainOptions
from .config import stage_2_config
from .settings import RetrainSettings


def check_retraining(
    run: Path, options: TrainOptions, settings: RetrainSettings, assignments: Sequence[str]
) -> RunInfo:
    """Return the info of the run of stage 1; the parameters are those of `retrain`.

    Raises InputError and ConfigError for what is wrong with them.
    """
    before = _finished(run)
    if find_world(None, None, os.environ).size > 1:
        raise InputError("retrain-classifier runs in one process only; start it by itself")
    config = stage_2_config(before.config, settings, assignments)
    if config.head.refine:
        raise InputError(
            f"{run}: head.refine={config.head.refine}; retrain the classifier of the run that the refiner "
            "began with, and train a refiner of the result: a refiner comes last"
        )
    check_training(config, replace(options, start=run, source=before.cached_source))
    return before


def _finished(run: Path) -> RunInfo:
    """Return the info of a finished run. Raises InputError where its last layer cannot be retrained."""
    info = RunInfo.read(run)
    if info.own_backbone:
        raise InputError(
            f"{run} was trained with --source {info.source}: its backbone, or the adapters in it, are its "
            "own, and cached features are of another; retrain-classifier takes runs on cached maps"
        )
    if not is_finished(run):
        raise InputError(
            f"{run} is not finished; continue it with `fdet train-heads ... --resume` first"
        )
    return info
