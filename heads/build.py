"""Construction of a detector from settings; torch is imported when one is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..cache.errors import ConfigError
from ..cache.pyramid import PyramidSpec
from .dense import DENSE_HEADS
from .family import HeadFamily, HeadSettings, NeckSettings
from .necks import NECKS
from .query import QUERY_HEADS
from .roi import ROI_HEADS

if TYPE_CHECKING:
    from torch import Tensor

    from .detector import Detector, Neck

HEADS: Mapping[str, HeadFamily] = {**DENSE_HEADS, **ROI_HEADS, **QUERY_HEADS}


def build_detector(
    spec: PyramidSpec,
    classes: int,
    neck: NeckSettings,
    head: HeadSettings,
    embeddings: Tensor | None = None,
) -> Detector:
    """Build a detector with fresh weights, drawn from torch's global generator.

    spec: the cached levels, of one backbone or of two (`PyramidSpec.joined_with`). neck, head: the settings,
    e.g. FPNSettings(channels=96) and RetinaNetSettings(). embeddings: the vectors (classes, D), where
    classes are told apart by vectors (`Head.use_embeddings`). Raises ConfigError when the cache lacks a
    level that they need, and for settings that do not go together.
    """
    from .detector import Detector
    from .refine.refiner import Refiner

    built_neck = _build_neck(chosen_levels(spec, neck), neck)
    built_head = HEADS[head.name].build(built_neck.spec, classes, head)
    if embeddings is not None:
        built_head.use_embeddings(embeddings)
    refiner = Refiner(built_neck.cached, head.refine) if head.refine else None
    return Detector(built_neck, built_head, refiner)


def chosen_levels(spec: PyramidSpec, neck: NeckSettings) -> PyramidSpec:
    """Return the cached levels that the settings choose. Raises ConfigError for a level that is not there."""
    if not neck.levels:
        return spec
    try:
        return spec.only(neck.levels)
    except ValueError as error:
        raise ConfigError(f"setting 'neck.levels': {error}") from error


def _build_neck(spec: PyramidSpec, settings: NeckSettings) -> Neck:
    from .fusion import FusedNeck

    first, second = spec.parted()
    if not first:
        raise ConfigError(
            f"setting 'neck.levels': expected levels of the first cache too, got {', '.join(spec.names)}"
        )
    neck = NECKS[settings.name].build(PyramidSpec(first), settings)
    return FusedNeck(spec, settings.fusion, neck) if second else neck
