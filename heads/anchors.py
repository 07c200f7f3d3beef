"""Anchors of a pyramid, by torchvision's generator, which is fed with sizes instead of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from ..cache.pyramid import FeaturePyramid, PyramidSpec


def anchor_generator(
    spec: PyramidSpec, scales: Sequence[float], ratios: Sequence[float]
) -> AnchorGenerator:
    """Anchors whose side is scale × stride px for each level, at each ratio (height / width)."""
    sizes = tuple(tuple(scale * stride for scale in scales) for stride in spec.strides)
    return AnchorGenerator(sizes, (tuple(ratios),) * len(spec.levels))


def image_anchors(generator: AnchorGenerator, pyramid: FeaturePyramid) -> list[Tensor]:
    """The anchors of each image, (A, 4) float32 canvas px, level after level, whatever the maps' type.

    torchvision would compute them, and keep them, in the type of the maps that it is given.
    """
    sizes = [x.new_empty((0, 0, *x.shape[-2:]), dtype=torch.float32) for x in pyramid.maps]
    canvases = ImageList(
        torch.empty((0, 0, *pyramid.canvas_hw)), [pyramid.canvas_hw] * len(pyramid)
    )
    return list(generator(canvases, sizes))
