"""RoIAlign over a pyramid (He et al., arXiv 1703.06870; levels as in Lin et al., arXiv 1612.03144)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align
from torchvision.ops.poolers import LevelMapper

from ...cache.pyramid import FeaturePyramid, PyramidSpec


class RoIPool(nn.Module):
    """Up to four levels, and not the last, which exists for the RPN alone; 2 x 2 points a cell.

    aligned: a place of a map stands for its centre, half a stride from its corner (as in Detectron2).
    Else it stands for its corner, a RoI is at least a stride wide and high, and all is as in torchvision's
    MultiScaleRoIAlign, but for the strides, which that infers from the first batch's unpadded sizes.
    """

    def __init__(self, spec: PyramidSpec, size: int, aligned: bool) -> None:
        super().__init__()
        self.size, self.aligned = size, aligned
        pooled = spec.levels[: max(1, min(4, len(spec.levels) - 1))]
        self.scales = [1.0 / level.stride for level in pooled]
        ends = (round(math.log2(level.stride)) for level in (pooled[0], pooled[-1]))
        self.levels_of = LevelMapper(*ends)

    def forward(self, pyramid: FeaturePyramid, rois: list[Tensor]) -> Tensor:
        """rois: of each image, (N, 4) canvas px -> (N of all images, C, size, size)."""
        images = [torch.full_like(of[:, :1], k) for k, of in enumerate(rois)]
        boxes = torch.cat([torch.cat(images), torch.cat(rois)], dim=1)
        first, levels = pyramid.maps[0], self.levels_of(rois)
        out = first.new_zeros((len(boxes), first.shape[1], self.size, self.size))
        for k, (x, scale) in enumerate(zip(pyramid.maps, self.scales, strict=False)):
            here = torch.where(levels == k)[0]
            pooled = roi_align(x, boxes[here], self.size, scale, 2, self.aligned)
            # Under autocast levels may differ in their type.
            out[here] = pooled.to(out.dtype)
        return out
