"""Anchors of a pyramid, by torchvision's generator, which is fed with sizes instead of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from ..cache.placement import Placement
from ..cache.pyramid import FeaturePyramid, PyramidSpec


def anchor_generator(
    spec: PyramidSpec, scales: Sequence[float], ratios: Sequence[float]
) -> AnchorGenerator:
    """Anchors whose side is scale × stride px for each level, at each ratio (height / width)."""
    sizes = tuple(tuple(scale * stride for scale in scales) for stride in spec.strides)
    return AnchorGenerator(sizes, (tuple(ratios),) * len(spec.levels))


def as_image_list(pyramid: FeaturePyramid, placements: Sequence[Placement]) -> ImageList:
    """What torchvision's heads want to know of the images: canvas size, and where the padding begins."""
    canvases = torch.empty((len(placements), 0, *pyramid.canvas_hw))
    return ImageList(canvases, [placement.content_hw for placement in placements])
