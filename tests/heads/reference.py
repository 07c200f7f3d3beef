"""Synthetic pyramids, and torchvision's own models around the same neck and head."""

from collections import OrderedDict

import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList

from fdet.cache.placement import Placement
from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec

SPEC = PyramidSpec((LevelSpec("c3", 8, 6), LevelSpec("c4", 16, 10), LevelSpec("c5", 32, 12)))


def pyramid(images: int, canvas_hw: tuple[int, int], seed: int = 0) -> FeaturePyramid:
    generator = torch.Generator().manual_seed(seed)
    maps = tuple(
        torch.randn((images, *level.shape(canvas_hw)), generator=generator) for level in SPEC.levels
    )
    return FeaturePyramid(SPEC, maps, canvas_hw)


def placement(canvas_hw, content_hw, image_hw=None) -> Placement:
    image_hw = image_hw or content_hw
    scale = (content_hw[1] / image_hw[1], content_hw[0] / image_hw[0])
    return Placement(image_hw, canvas_hw, content_hw, scale, (0.0, 0.0))


class GivenPyramid(nn.Module):
    """A torchvision backbone that runs our neck over given maps, whatever the images show."""

    def __init__(self, neck: nn.Module, given: FeaturePyramid) -> None:
        super().__init__()
        self.neck, self.given = neck, given
        self.out_channels = neck.spec.channels[0]

    def forward(self, images: torch.Tensor) -> OrderedDict:
        assert tuple(images.shape[-2:]) == self.given.canvas_hw
        out = self.neck(self.given)
        return OrderedDict(zip(out.spec.names, out.maps, strict=True))


class PaddedImages(nn.Module):
    """torchvision's transform without resizing: images that are padded already."""

    def __init__(self, canvas_hw, contents) -> None:
        super().__init__()
        self.canvas_hw, self.contents = canvas_hw, contents

    def forward(self, images, targets=None):
        batch = torch.zeros(len(images), 3, *self.canvas_hw)
        return ImageList(batch, list(self.contents)), targets

    def postprocess(self, result, image_shapes, original_image_sizes):
        return result
