"""The data of a run, for training and validation, from caches or from a backbone in the loop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ...cache.errors import ConfigError, InputError
from ...cache.format.header import CacheHeader
from ...cache.sampler import share_of
from ...cache.wording import counted, none_has
from ..backbones.loading import load_backbone_of, random_backbone_of
from ..backbones.tail import AdaptedTail, Tail, levels_with_tail
from ..backbones.trained import TrainedBackbone
from ..dataset.images.canvases import recipe_of
from ..machines.processes import Processes
from ..runs.config import RunConfig
from ..runs.model import OwnBackbone, adapted_backbone, tail_of
from ..sources.data import Data, open_cached, open_live
from .checks import check_views
from .memory_limit import Fit
from .options import TrainOptions

log = logging.getLogger(__name__)


def open_data(
    config: RunConfig,
    options: TrainOptions,
    header: CacheHeader,
    backbone: OwnBackbone | None,
    processes: Processes,
    fit: Fit | None = None,
) -> tuple[Data, Data | None]:
    """Open the training and validation data.

    header: the header of the training cache, or of the first one.
    """
    data = _training_data(config, options, header, backbone, processes, fit)
    return data, _validation_data(config, options, data, backbone, processes.device)


def chosen(config: RunConfig, data: Data) -> Data:
    """Return the data with the share of the images that is trained on.

    Raises ConfigError for more views than there are, and for a federated loss where all classes are
    labelled. Raises InputError where no image has an object.
    """
    settings = config.train
    if config.head.federated and data.annotations.coverage is None:
        raise ConfigError(
            f"setting 'head.federated': the annotations of {data.name} do not say which classes were "
            "looked for in each image (LVIS' neg_category_ids), so all count; expected 0"
        )
    check_views(config, len(data.header.layout.views), data.name)
    if settings.fraction != 1:
        data = replace(data, image_ids=share_of(data.image_ids, settings.fraction))
    if all(data.annotations.of_image(image_id).crowd.all() for image_id in data.image_ids):
        raise InputError(
            f"{data.name}: {none_has(len(data.image_ids), 'image', 'an object')}, so there is nothing to "
            "learn; look at its annotations with `fdet dataset check`"
        )
    return data


def trained_backbone(
    config: RunConfig, options: TrainOptions, header: CacheHeader, device: torch.device
) -> OwnBackbone | None:
    """Return the backbone, or None where it stays frozen and nothing in it is trained.

    Raises ConfigError, InputError.
    """
    settings, scratch = config.backbone, options.kind.fresh
    if options.kind.tail:
        return _tail(config, options, header, device)
    if not (options.trains_backbone or settings.adapters):
        return None
    headers = [header] if options.val is None else [header, CacheHeader.read(options.val)]
    canvases = [bucket.canvas_hw for h in headers for bucket in h.layout.buckets]
    if settings.adapters:
        _check_precision(config, header)
        frozen = load_backbone_of(header.key, device, options.weights)
        return adapted_backbone(config, frozen, canvases)
    if scratch:
        backbone = random_backbone_of(header.key, device, config.train.seed)
    else:
        backbone = load_backbone_of(header.key, device, options.weights)
    batch_norm = settings.norm == "batch" or (scratch and settings.norm == "auto")
    return TrainedBackbone(backbone, settings.train_from, batch_norm=batch_norm, canvases=canvases)


def _tail(
    config: RunConfig, options: TrainOptions, header: CacheHeader, device: torch.device
) -> OwnBackbone:
    """Return the tail behind the cached levels."""
    train_from = config.backbone.train_from
    choose = levels_with_tail(header.key.levels, train_from, options.caches[0])
    frozen = load_backbone_of(header.key, device, options.weights, levels=choose)
    canvases = [recipe_of(header.key, Path()).rule.canvas_hw((1, 1))]
    tail = tail_of(config, frozen, canvases)
    if tail.tokens:
        _check_tokens(tail.tokens, options)
    return tail


def _check_tokens(count: int, options: TrainOptions) -> None:
    """Raise ConfigError where a cache lacks the tokens that a tail takes beside the map."""
    for cache in (*options.caches, *([options.val] if options.val is not None else [])):
        key = CacheHeader.read(cache).key
        if key.image_vector is None or not key.image_vector.of_tokens:
            raise ConfigError(
                f"--source {options.source}: {key.backbone} passes {counted(count, 'token')} on beside the "
                f"map, and {cache} does not keep them; extract it with --tokens"
            )


def _check_precision(config: RunConfig, header: CacheHeader) -> None:
    """Raise ConfigError where gradients pass through an fp16 backbone without the loss scale they need."""
    if header.key.precision == "fp16" and config.train.precision != "fp16":
        raise ConfigError(
            "setting 'train.precision': the backbone computes in fp16, as for the cache, and so must "
            f"gradients of its adapters; expected fp16, got {config.train.precision}"
        )


def _training_data(
    config: RunConfig,
    options: TrainOptions,
    header: CacheHeader,
    backbone: OwnBackbone | None,
    processes: Processes,
    fit: Fit | None,
) -> Data:
    settings, device = config.train, processes.device
    if not options.kind.live:
        return open_cached(
            options.caches,
            options.data,
            device,
            second=options.seconds,
            workers=settings.workers,
            prefetch=settings.prefetch,
            resident=options.resident,
            on_corrupt=options.on_corrupt,
            sharing=processes.on_machine,
            room=fit.room if fit else None,
            masks=config.masks,
        )
    assert options.images is not None
    assert not isinstance(backbone, Tail | AdaptedTail)
    live = backbone or load_backbone_of(header.key, device, options.weights)
    return open_live(
        options.caches[0],
        options.data,
        options.images,
        live,
        settings.workers,
        source=options.source,
        masks=config.masks,
    )


def _validation_data(
    config: RunConfig,
    options: TrainOptions,
    data: Data,
    backbone: OwnBackbone | None,
    device: torch.device,
) -> Data | None:
    """Open the validation data: cached maps, unless the backbone that made them is trained or adapted."""
    if options.val is None:
        return None
    if _same(options.caches, options.val):
        log.warning("training and validation use the same cache: the AP is of images trained on")
        plain = options.val_annotations is None and options.val_images is None
        plain = plain and _same(options.seconds, options.val_second)
        same = options.trains_backbone or not options.kind.live
        if plain and same and options.on_corrupt == "raise":
            return data
    workers, prefetch = config.train.workers, config.train.prefetch
    annotations = options.val_data
    if backbone is None or options.kind.tail:
        return open_cached(
            [options.val],
            annotations,
            device,
            second=() if options.val_second is None else [options.val_second],
            workers=workers,
            prefetch=prefetch,
            masks=config.masks,
        )
    images = options.val_images or options.images
    assert images is not None and not isinstance(backbone, Tail | AdaptedTail)
    return open_live(options.val, annotations, images, backbone, workers, masks=config.masks)


def _same(caches: Sequence[Path], other: Path | None) -> bool:
    return [cache.resolve() for cache in caches] == ([other.resolve()] if other else [])
