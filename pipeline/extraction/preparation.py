"""The preparation of an extraction, before anything is written: data set, backbone and planned cache."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from ...cache.codecs.codec import get_form
from ...cache.errors import InputError, did_you_mean
from ...cache.format.header import CacheHeader
from ...cache.stores import STORES
from ..backbones.frozen import FrozenBackbone
from ..backbones.loading import load_backbone
from ..dataset.annotations import Annotations, load_annotations
from ..dataset.views import parse_views
from ..machines.devices import pick_device, use_threads
from ..machines.world import World
from .calibration import refuse_unused
from .creation import planned_header
from .options import ExtractConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that an extraction has ready before anything is written.

    header: the planned header, which lacks only the calibration of the codec. annotations: the bytes of
    their file.
    """

    header: CacheHeader
    backbone: FrozenBackbone
    annotations: bytes
    device: torch.device


def prepared(config: ExtractConfig, world: World) -> Prepared:
    """Check the options, read the annotations, load the backbone and plan the cache. Raises InputError."""
    _check(config)
    annotations, raw = load_annotations(config.annotations)
    _report_dropped(annotations)
    device = pick_device(config.device, world.local_rank)
    use_threads(config.threads)
    backbone = load_backbone(
        config.backbone,
        weights=config.weights,
        levels=config.levels.split(",") if config.levels else None,
        precision=config.precision,
        seed=config.seed,
        device=device,
        image_vectors=config.image_vectors,
    )
    header = planned_header(config, backbone, annotations.images[: config.limit], device)
    return Prepared(header, backbone, raw, device)


def _check(config: ExtractConfig) -> None:
    """Raise InputError for options that can be refused before the backbone is loaded."""
    parse_views(config.views)
    refuse_unused(get_form(config.codec), config.calibration)
    aspect = config.short is not None or config.long is not None
    if (config.size is not None) == aspect or (config.short is None) != (config.long is None):
        raise InputError("give either --size N (square) or both --short N and --long M")
    if config.store not in STORES:
        raise InputError(f"--store {config.store!r}{did_you_mean(config.store, STORES)}")
    if config.update is not None and config.update.resolve() == config.out.resolve():
        raise InputError(
            "--update names the older cache, which is left as it is: choose another --out"
        )
    if config.update is not None and config.calibration is not None:
        raise InputError("--calibration: --update takes that of the older cache; leave it out")
    for name in (
        "size",
        "batch_size",
        "threads",
        "shard_mb",
        "limit",
        "world",
        "calibration_images",
    ):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')}: expected at least 1, got {value}")
    if config.workers < 0:
        raise InputError(f"--workers: expected at least 0, got {config.workers}")
    if not 0 <= config.seed < 2**63:
        raise InputError(f"--seed: expected 0 to 2^63 - 1, got {config.seed}")


def _report_dropped(annotations: Annotations) -> None:
    for why, count in annotations.dropped.items():
        log.warning("%d boxes %s are left out", count, why)
