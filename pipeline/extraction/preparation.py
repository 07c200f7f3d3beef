"""The preparation of an extraction, before anything is written: data set, backbone and planned cache."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ...cache.format.header import CacheHeader
from ...cache.layout import ImageEntry
from ..backbones.frozen import FrozenBackbone
from ..backbones.loading import load_backbone
from ..dataset.data_set import DataSet, read_data_set
from ..dataset.doctor.examine import quick_findings
from ..dataset.images.views import ResizeRule
from ..dataset.tiling import is_tiled, tiles_of
from ..dataset.tiling_choice import chosen_tiling
from ..dataset.tiling_option import AUTO
from ..machines.devices import pick_device, use_threads
from ..machines.world import World
from .checks import check_extraction
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


def with_data(config: ExtractConfig) -> tuple[ExtractConfig, DataSet]:
    """Check the options and read the data set; return them with the folder of its images, and with tiles.

    Raises InputError.
    """
    check_extraction(config)
    data = read_data_set(
        config.annotations, config.images, format=config.format, split=config.split
    )
    config = replace(config, images=data.images)
    if config.tiles == AUTO:
        chosen = chosen_tiling(data.annotations, min(config.sides), config.overlap, config.whole)
        config = replace(config, tiles=chosen.side, overlap=chosen.overlap)
        log.warning("--tiles %d --overlap %g: from the objects' sizes", chosen.side, chosen.overlap)
    return config, data


def samples_of(config: ExtractConfig, data: DataSet) -> Sequence[ImageEntry]:
    """Return the images of the layout: those of a data set, or their tiles. Raises InputError."""
    images, tiling = data.annotations.images[: config.limit], config.tiling
    if tiling is None:
        return images
    tiles = tiles_of(images, tiling)
    if not is_tiled(tiles):
        log.warning("--tiles %d: no image is larger, so none is cut", tiling.side)
    return tiles


def prepared(config: ExtractConfig, world: World, data: DataSet) -> Prepared:
    """Load the backbone and plan the cache of a data set. Raises InputError."""
    images = samples_of(config, data)
    # The size at which objects are used is known of whole images alone.
    whole = ResizeRule(*config.sides, square=config.size is not None, divisor=1)
    resize = None if is_tiled(images) else whole
    found = [finding.line for finding in quick_findings(data, resize)]
    for warning in (*data.annotations.warnings(), *found):
        log.warning("%s: %s", data.source, warning)
    device = pick_device(config.device, world.local_rank)
    use_threads(config.threads)
    backbone = load_backbone(
        config.backbone,
        weights=config.weights,
        levels=config.level_names,
        precision=config.precision,
        seed=config.seed,
        device=device,
        image_vectors=config.image_vectors,
        tokens=config.tokens,
    )
    header = planned_header(config, backbone, images, device)
    return Prepared(header, backbone, data.raw, device)
