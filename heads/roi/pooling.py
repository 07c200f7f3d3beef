"""RoIAlign over a pyramid (He et al., arXiv 1703.06870; levels as in Lin et al., arXiv 1612.03144)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align
from torchvision.ops.poolers import LevelMapper

from ...cache.pyramid import FeaturePyramid, PyramidSpec


class RoIPool(nn.Module):
    """RoIAlign over up to four levels, with 2 x 2 sampling points per cell.

    aligned: whether a cell of a map stands for its centre, half a stride from its corner (as in Detectron2).
    Otherwise it stands for its corner, a RoI is at least a stride wide and high, and everything is as in
    torchvision's MultiScaleRoIAlign except for the strides, which torchvision infers from the unpadded sizes
    of the first batch. last: whether the last of several levels is pooled too, which exists for the RPN alone
    where there is one.
    """

    def __init__(self, spec: PyramidSpec, size: int, aligned: bool, *, last: bool = False) -> None:
        super().__init__()
        self.size, self.aligned = size, aligned
        pooled = spec.levels[: max(1, min(4, len(spec.levels) - (not last)))]
        self.scales = [1.0 / level.stride for level in pooled]
        ends = (round(math.log2(level.stride)) for level in (pooled[0], pooled[-1]))
        self.levels_of = LevelMapper(*ends)

    def forward(self, pyramid: FeaturePyramid, rois: list[Tensor]) -> Tensor:
        """Pool the RoIs of each image, (N, 4) canvas px, to (N of all images, C, size, size)."""
        images = [torch.full_like(of[:, :1], k) for k, of in enumerate(rois)]
        boxes = torch.cat([torch.cat(images), torch.cat(rois)], dim=1)
        first, levels = pyramid.maps[0], self.levels_of(rois)
        out = first.new_zeros((len(boxes), first.shape[1], self.size, self.size))
        for k, (x, scale) in enumerate(zip(pyramid.maps, self.scales, strict=False)):
            here = torch.where(levels == k)[0]
            pooled = roi_align(x, boxes[here], self.size, scale, 2, self.aligned)
            # Under autocast the levels may differ in dtype.
            out[here] = pooled.to(out.dtype)
        return out
