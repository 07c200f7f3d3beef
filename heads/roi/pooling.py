"""RoIAlign over a pyramid (He et al., arXiv 1703.06870; levels as in Lin et al., arXiv 1612.03144)."""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from ...cache.pyramid import FeaturePyramid, PyramidSpec


class RoIPool(MultiScaleRoIAlign):  # type: ignore[misc]
    """torchvision's, told the strides: it would infer them from the first batch's unpadded sizes, and
    keep them. It takes up to four levels, and not the last, which exists for the RPN alone.
    """

    def __init__(self, spec: PyramidSpec, size: int) -> None:
        pooled = spec.levels[: max(1, min(4, len(spec.levels) - 1))]
        super().__init__([level.name for level in pooled], size, sampling_ratio=2)
        self.scales = [1.0 / level.stride for level in pooled]
        ends = (round(math.log2(level.stride)) for level in (pooled[0], pooled[-1]))
        self.map_levels = initLevelMapper(*ends)

    def forward(self, pyramid: FeaturePyramid, rois: list[Tensor]) -> Tensor:
        """rois: of each image, (N, 4) canvas px -> (N of all images, C, size, size)."""
        maps = dict(zip(pyramid.spec.names, pyramid.maps, strict=True))
        return cast(Tensor, super().forward(maps, rois, []))
