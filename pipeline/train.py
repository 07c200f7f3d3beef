"""fdet train-heads: opens the data, checks that all belongs together, and starts the loop."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from ..cache.errors import ConfigError, InputError
from ..cache.header import CacheHeader
from ..cache.publish import make_folder, publish_bytes, storage_error
from ..heads.detector import Detector
from . import metrics_log
from .backbones import FrozenBackbone, load_backbone_of
from .config import RunConfig
from .data import Data, open_data
from .devices import pick_device
from .loop import Loop, TrainSummary
from .run import Position, RunInfo, load_state
from .schedule import make_optimiser

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Where a run's data lie and where it happens; none of it changes the result's meaning.

    source: "cached", or "online": the frozen backbone in the loop, which needs `images` (and
    `weights`, where the cache was made from a file). The cache is then only the recipe.
    """

    cache: Path
    out: Path
    val: Path | None = None
    annotations: Path | None = None
    val_annotations: Path | None = None
    source: Literal["cached", "online"] = "cached"
    images: Path | None = None
    weights: str | None = None
    device: str = "auto"
    threads: int | None = None
    resume: bool = False


def train(config: RunConfig, options: TrainOptions) -> TrainSummary:
    """Train neck and head; evaluates on `val` where one is given.

    Raises InputError, ConfigError (e.g. a level that the cache lacks), KeyMismatch (train and val do
    not pair), FdetError (the loss is no number any more); the last checkpoint survives all of them.
    """
    device = pick_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    data, val = _open(config, options, device)
    info = RunInfo(
        key=data.header.key,
        class_ids=data.annotations.class_ids,
        class_names=data.annotations.class_names,
        config=config,
        backbone_parameters=int(data.header.backbone["parameters"]),
    )
    _check_pair(info, data, val)
    detector = info.fresh_detector().to(device)
    _prepare_folder(options, info)
    optimiser = make_optimiser(detector, config.optim)
    position = Position()
    if options.resume and (options.out / "last.safetensors").exists():
        position = load_state(options.out / "last.safetensors", detector, optimiser)
    metrics_log.cut_back(options.out, position.step)
    log.info("%s", describe_training(info, detector))
    loop = Loop(config, options.out, device, data, val, detector, optimiser, position)
    return loop.run()


def describe_training(info: RunInfo, detector: Detector) -> str:
    """What is trained, in a line: parameters and their share of the whole detector."""
    trained, frozen = detector.trained_parameters, info.backbone_parameters
    return (
        f"{info.config.neck.name} + {info.config.head.name}: {trained / 1e6:.2f} M parameters are "
        f"trained, {frozen / 1e6:.2f} M of {info.key.backbone} are frozen; trained share "
        f"{trained / (trained + frozen):.1%}"
    )


def _open(
    config: RunConfig, options: TrainOptions, device: torch.device
) -> tuple[Data, Data | None]:
    backbone: FrozenBackbone | None = None
    if options.source == "online":
        if options.images is None:
            raise InputError(
                "--source online needs --images DIR, the folder the cache was made from"
            )
        backbone = load_backbone_of(CacheHeader.read(options.cache).key, device, options.weights)

    def opened(path: Path, annotations: Path | None) -> Data:
        return open_data(
            path,
            annotations,
            device,
            workers=config.train.workers,
            prefetch=config.train.prefetch,
            images=options.images,
            backbone=backbone,
        )

    data = opened(options.cache, options.annotations)
    if options.val is None:
        return data, None
    if options.val.resolve() == options.cache.resolve():
        log.warning("training and validation use the same cache: the AP is of images trained on")
    return data, opened(options.val, options.val_annotations)


def _check_pair(info: RunInfo, data: Data, val: Data | None) -> None:
    if val is None:
        return
    for difference in info.check_pairs(val.header, val.path):
        log.warning("training and validation caches differ in %s", difference)
    info.check_classes(val.annotations, f"validation annotations of {val.path}")


def _prepare_folder(options: TrainOptions, info: RunInfo) -> None:
    """A new folder for a new run; with --resume, the same run or nothing."""
    path = options.out / "run.json"
    if path.exists():
        if not options.resume:
            raise InputError(
                f"--out {options.out}: a run stands there already; choose another, or add --resume "
                "to go on with it"
            )
        before = RunInfo.read(options.out)
        if before.config != info.config:
            raise ConfigError(_changed_settings(before.config, info.config))
        if replace(before, config=info.config) != info:
            raise InputError(
                f"--resume: {options.out} was trained on another cache or other classes"
            )
        return
    if options.resume:
        raise InputError(f"--resume: there is no run in {options.out}")
    try:
        make_folder(options.out)
        if any(options.out.iterdir()):
            raise InputError(f"--out {options.out}: the folder is not empty; choose another")
    except OSError as error:
        raise storage_error(options.out, error) from error
    publish_bytes(options.out / "config.toml", info.config.to_toml().encode())
    publish_bytes(path, info.to_bytes())


def _changed_settings(before: RunConfig, now: RunConfig) -> str:
    old, new = before.to_mapping(), now.to_mapping()
    changed = [
        f"{section}.{name} was {old[section].get(name)}, is {value}"
        for section in new
        for name, value in new[section].items()
        if old[section].get(name) != value
    ]
    return f"--resume: the configuration has changed: {'; '.join(changed)}; start a new --out"
