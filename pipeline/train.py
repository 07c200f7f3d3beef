"""fdet train-heads: opens the data, checks that all belongs together, and starts the loop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch

from ..cache.errors import ConfigError, InputError, did_you_mean
from ..cache.header import CacheHeader
from ..cache.loader import OnCorrupt
from ..cache.publish import make_folder, only_writer, publish_bytes, storage_error
from ..heads.detector import Detector
from . import metrics_log
from .backbones import load_backbone_of
from .config import RunConfig
from .data import Data, open_cached, open_online
from .devices import pick_device, use_threads
from .loop import Loop, TrainSummary
from .residence import Residence
from .run import Position, RunInfo, load_state
from .schedule import make_optimiser

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Where a run's data lie and where it happens.

    cache: one, or several that are read as one. source: "cached", or "online": the frozen backbone
    in the loop, which needs `images` (and `weights`, where the cache was made from a file). The
    training cache is then only the recipe; validation reads its maps all the same. resident: whether
    samples stay in memory, as they are stored, after their first reading. on_corrupt "skip": train
    without damaged samples, and say how many there were; validation never does without.
    """

    cache: Path | str | Sequence[Path]
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
    resident: Residence = "auto"
    on_corrupt: OnCorrupt = "raise"

    @property
    def caches(self) -> tuple[Path, ...]:
        """All training caches."""
        if isinstance(self.cache, Path | str):
            return (Path(self.cache),)
        return tuple(map(Path, self.cache))


def train(config: RunConfig, options: TrainOptions) -> TrainSummary:
    """Train neck and head; evaluates on `val` where one is given.

    Raises InputError, ConfigError (e.g. a level that the cache lacks), KeyMismatch (train and val do
    not pair), FdetError (the loss is no number any more); the last checkpoint survives all of them.
    """
    device = pick_device(options.device)
    use_threads(options.threads)
    data, val = _open(config, options, device)
    info = RunInfo(
        key=data.header.key,
        class_ids=data.annotations.class_ids,
        class_names=data.annotations.class_names,
        config=config,
        backbone_parameters=int(data.header.backbone["parameters"]),
        data={
            "source": options.source,
            "training data": data.fingerprint,
            "validation data": val.fingerprint if val else "none",
        },
    )
    _check_pair(info, data, val)
    detector = info.fresh_detector().to(device)
    _prepare_folder(options, info)
    optimiser = make_optimiser(detector, config.optim)
    position = Position()
    if options.resume and (options.out / "last.safetensors").exists():
        position = load_state(options.out / "last.safetensors", detector, optimiser)
    metrics_log.cut_back(options.out, position.step, not position.to_evaluate)
    log.info("%s", describe_training(info, detector))
    with only_writer(options.out):
        return Loop(config, options.out, device, data, val, detector, optimiser, position).run()


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
    _check_options(options)
    settings = config.train
    opened = partial(open_cached, device=device, prefetch=settings.prefetch)
    if options.source == "online":
        (cache,), images = options.caches, options.images
        assert images is not None
        backbone = load_backbone_of(CacheHeader.read(cache).key, device, options.weights)
        data = open_online(cache, options.annotations, images, backbone, settings.workers)
    else:
        data = opened(
            options.caches,
            options.annotations,
            workers=settings.workers,
            resident=options.resident,
            on_corrupt=options.on_corrupt,
        )
    if options.val is None:
        return data, None
    if [options.val.resolve()] == [cache.resolve() for cache in options.caches]:
        log.warning("training and validation use the same cache: the AP is of images trained on")
        if (
            options.val_annotations is None
            and options.source == "cached"
            and options.on_corrupt == "raise"
        ):
            return data, data
    return data, opened([options.val], options.val_annotations, workers=settings.workers)


def _check_options(options: TrainOptions) -> None:
    """An option that would be ignored is refused."""
    if not options.caches:
        raise InputError("expected at least one cache to train on")
    if options.source not in ("cached", "online"):
        raise InputError(f"--source {options.source!r}: expected cached or online")
    if options.source == "online" and options.images is None:
        raise InputError("--source online needs --images DIR, the folder the cache was made from")
    if options.source == "online" and len(options.caches) != 1:
        raise InputError(f"--source online takes one cache, got {len(options.caches)}")
    if options.resident not in get_args(Residence):
        raise InputError(
            f"--resident {options.resident!r}{did_you_mean(options.resident, get_args(Residence))}"
        )
    if options.on_corrupt not in get_args(OnCorrupt):
        raise InputError(f"--on-corrupt {options.on_corrupt!r}: expected raise or skip")
    for name, idle in (("resident", "auto"), ("on_corrupt", "raise")):
        if options.source == "online" and getattr(options, name) != idle:
            raise InputError(f"--{name.replace('_', '-')} is for cached maps, not --source online")
    for name in ("images", "weights"):
        if options.source == "cached" and getattr(options, name) is not None:
            raise InputError(f"--{name} is for --source online; cached maps need neither")
    if options.val is None and options.val_annotations is not None:
        raise InputError("--val-annotations needs --val")


def _check_pair(info: RunInfo, data: Data, val: Data | None) -> None:
    if val is None:
        return
    for difference in info.check_pairs(val.header, val.name):
        log.warning("training and validation caches differ in %s", difference)
    info.check_classes(val.annotations, f"validation annotations of {val.name}")


def _prepare_folder(options: TrainOptions, info: RunInfo) -> None:
    """A new folder for a new run; with --resume, the same run or nothing."""
    path = options.out / "run.json"
    if path.is_file():
        if not options.resume:
            raise InputError(
                f"--out {options.out}: a run stands there already; choose another, or add --resume "
                "to go on with it"
            )
        before = RunInfo.read(options.out)
        if before.config != info.config:
            raise ConfigError(_changed_settings(before.config, info.config))
        _refuse_other_data(options.out, before, info)
        return
    if options.resume:
        raise InputError(f"--resume: there is no run in {options.out}")
    try:
        make_folder(options.out)
        if any(options.out.iterdir()):
            raise InputError(f"--out {options.out}: the folder is not empty; choose another")
    except OSError as error:
        raise storage_error(options.out, error) from error
    publish_bytes(path, info.to_bytes())
    publish_bytes(options.out / "config.toml", info.config.to_toml().encode())


def _refuse_other_data(out: Path, before: RunInfo, now: RunInfo) -> None:
    differences = before.key.explain(now.key, "pair")
    changed = [str(d) for d in differences if d.fatal]
    changed += [name for name, value in now.data.items() if before.data.get(name) != value]
    if changed:
        raise InputError(
            f"--resume: {out} was trained on something else: {'; '.join(changed)}; give the command "
            "that it was started with"
        )
    for difference in differences:
        log.warning("--resume: since the run was started, %s", difference)


def _changed_settings(before: RunConfig, now: RunConfig) -> str:
    old, new = before.to_mapping(), now.to_mapping()
    changed = [
        f"{section}.{name} was {old[section].get(name)}, is {value}"
        for section in new
        for name, value in new[section].items()
        if old[section].get(name) != value
    ]
    return f"--resume: the configuration has changed: {'; '.join(changed)}; start a new --out"
