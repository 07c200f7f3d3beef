"""What can be refused of a training before torch is imported: options, settings, names, paths."""

from __future__ import annotations

import os
from pathlib import Path

from ...cache.errors import ConfigError, InputError
from ...cache.format.header import read_key
from ...cache.wording import counted
from ...heads.build import chosen_levels
from ..backbones.known import check_weights
from ..command import check_file, check_folder
from ..dataset.presence import check_data
from ..machines.choices import check_device, check_threads
from ..machines.world import find_world
from ..runs.config import RunConfig
from ..runs.folder import refuse_unusable
from ..runs.info import RunInfo
from ..runs.position import BEST
from .options import TrainOptions


def check_training(config: RunConfig, options: TrainOptions) -> None:
    """Raise InputError or ConfigError for what is wrong with options, settings, names and paths."""
    options.check()
    check_device(options.device)
    check_threads(options.threads)
    check_settings(config, options, find_world(None, None, os.environ).size)
    check_refining(config, options)
    refuse_unusable(options.out, resume=options.resume)
    check_paths(options)
    _check_caches(config, options)


def check_settings(config: RunConfig, options: TrainOptions, processes: int) -> None:
    """Raise ConfigError where settings that are sound by themselves do not go with the options.

    processes: the number of processes that train together.
    """
    train, backbone = config.train, config.backbone
    if train.patience and options.val is None:
        raise ConfigError("setting 'train.patience': nothing is evaluated without --val; give both")
    if train.batch_size < processes * train.accumulate:
        raise ConfigError(
            f"setting 'train.batch_size': {counted(train.batch_size, 'image')} cannot be shared by "
            f"{counted(processes, 'process', 'processes')} with "
            f"train.accumulate={train.accumulate}; expected at least {processes * train.accumulate}"
        )
    if options.kind.fresh and (backbone.train_from or backbone.norm == "frozen"):
        raise ConfigError(
            f"--source {options.source} trains all of the backbone: expected backbone.train_from='' and "
            f"backbone.norm auto or batch, got {backbone.train_from!r} and {backbone.norm}"
        )
    if backbone.adapters:
        _check_adapters(config, options)
    if options.kind.tail and not backbone.train_from:
        raise ConfigError(
            "setting 'backbone.train_from': --source tail needs the level that the tail begins with, e.g. "
            "--set backbone.train_from=c5 for all that follows c4"
        )
    if backbone.frozen_tail and (backbone.adapters or not options.kind.tail):
        raise ConfigError(
            "setting 'backbone.frozen_tail': it is for --source tail without adapters, which freeze it "
            "anyway; expected false"
        )


def check_refining(config: RunConfig, options: TrainOptions) -> None:
    """Raise ConfigError for a refiner without the run whose boxes it is to correct."""
    if config.head.refine and options.start is None:
        raise ConfigError(
            f"setting 'head.refine': expected 0 without --start, got {config.head.refine}; a refiner learns "
            "to correct the boxes of a finished run: `fdet train-heads CACHE --start RUN`"
        )


def _check_adapters(config: RunConfig, options: TrainOptions) -> None:
    if not options.kind.runs_backbone:
        raise ConfigError(
            "--adapters (backbone.adapters) act inside the backbone, and cached maps do not pass through "
            "them; expected --source online --images DIR, or --source tail"
        )
    if options.trains_backbone:
        raise ConfigError(
            f"--adapters (backbone.adapters) are for a frozen backbone, and --source {options.source} trains "
            "it; expected --source online"
        )
    if config.backbone.norm == "batch":
        raise ConfigError(
            "setting 'backbone.norm': a backbone with adapters keeps its statistics; expected auto or "
            "frozen, got batch"
        )


def check_paths(options: TrainOptions) -> None:
    """Raise InputError for a file, a folder, a data set or a run that is not there."""
    check_folder("--images", options.images)
    check_folder("--val-images", options.val_images)
    check_weights("--weights", options.weights)
    check_file("--class-embeddings", options.class_embeddings)
    check_data(options.data, options.val_data)
    check_start(options.start)
    if options.resume:
        RunInfo.read(options.out)


def check_start(run: Path | None) -> None:
    """Raise InputError for a run to start from that is not there or has no weights, CorruptCache."""
    if run is not None:
        RunInfo.read(run)
        weights_to_start_from(run)


def weights_to_start_from(run: Path) -> Path:
    """Return the file of the best weights of a run. Raises InputError where it has none."""
    path = run / BEST
    if not path.is_file():
        raise InputError(
            f"--start {run}: it has no {BEST}, which a run has from its first evaluation on, and without "
            "--val from its end on"
        )
    return path


def _check_caches(config: RunConfig, options: TrainOptions) -> None:
    """Raise InputError where a cache is not there, ConfigError where it lacks levels or views."""
    keys = [read_key(cache) for cache in options.caches]
    for cache in (*options.seconds, options.val, options.val_second):
        if cache is not None:
            read_key(cache)
    if not (options.seconds or options.kind.tail):  # A second cache or a tail adds levels.
        chosen_levels(keys[0].levels, config.neck)
    check_views(config, len(keys[0].views), " + ".join(map(str, options.caches)))


def check_views(config: RunConfig, available: int, name: str) -> None:
    """Raise ConfigError for more views than the training data of that name have."""
    if config.train.views > available:
        raise ConfigError(
            f"setting 'train.views': expected at most the {available} views of {name}, got "
            f"{config.train.views}"
        )
