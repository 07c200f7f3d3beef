"""Fusion of the levels of a second backbone with those of the first, before any neck."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from .convolutions import coarser, convolution
from .detector import Neck
from .family import Fusion


class FusedNeck(Neck):
    """A neck over the first backbone's levels, each joined with the second's levels of the same stride.

    Where the second has none of that stride, its levels of the nearest stride are used, resized to the
    first's.
    """

    def __init__(self, spec: PyramidSpec, fusion: Fusion, neck: Neck) -> None:
        """Place the fusion before a neck.

        spec: the levels of both backbones. neck: a neck that takes the levels of the first alone.
        """
        super().__init__(spec)
        self.spec, self.neck = neck.spec, neck
        first, second = spec.parted()
        self._inputs = [
            [spec.levels.index(v) for v in (level, *_nearest(level, second))] for level in first
        ]
        self.levels = nn.ModuleList(
            FusedLevel(level, _nearest(level, second), fusion) for level in first
        )

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The fused levels, and the parts of the neck."""
        return *self.levels, *self.neck.parts

    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Fuse the levels of both backbones and pass them through the neck."""
        inputs = [[pyramid.maps[k] for k in of_level] for of_level in self._inputs]
        maps = tuple(level(*of) for level, of in zip(self.levels, inputs, strict=True))
        fused: FeaturePyramid = self.neck(FeaturePyramid(self.neck.cached, maps, pyramid.canvas_hw))
        return fused


class FusedLevel(nn.Module):
    """A map of the first backbone, joined with maps of the second.

    Each map of the second passes through a 1x1 convolution and a norm. The result is the sum of all, or
    with "concat" what a 1x1 convolution makes of the first's map and the sum of the second's. Its channels
    are those of the first.
    """

    def __init__(self, level: LevelSpec, others: Sequence[LevelSpec], fusion: Fusion) -> None:
        super().__init__()
        self.stride, self.strides = level.stride, [other.stride for other in others]
        n = level.channels
        # The levels of a backbone have enough channels for 32 groups.
        self.projections = nn.ModuleList(
            convolution(other.channels, n, 1, norm="gn32") for other in others
        )
        self.joined = convolution(2 * n, n, 1) if fusion == "concat" else None

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """Join (B, C, H, W) with (B, C_k, H_k, W_k) of each other map; the result is (B, C, H, W)."""
        hw = (x.shape[-2], x.shape[-1])
        maps = [
            at_stride(projection(other), stride, self.stride, hw)
            for projection, other, stride in zip(
                self.projections, others, self.strides, strict=True
            )
        ]
        second = sum(maps[1:], start=maps[0])
        if self.joined is None:
            return x + second
        out: Tensor = self.joined(torch.cat([x, second.to(x.dtype)], dim=1))
        return out


def _nearest(level: LevelSpec, others: Sequence[LevelSpec]) -> list[LevelSpec]:
    """Return all levels of the stride that is nearest by its factor, the finer of two equally near ones."""
    strides = sorted({other.stride for other in others})
    nearest = min(strides, key=lambda stride: abs(math.log2(stride / level.stride)))
    return [other for other in others if other.stride == nearest]


def at_stride(x: Tensor, own: int, wanted: int, hw: tuple[int, int]) -> Tensor:
    """Resample (B, C, H, W) at stride `own` to (B, C, *hw) at stride `wanted`.

    Each location takes the value of the location that covers its centre, after max-pooling where the map is
    finer by a factor of 2 or more.
    """
    while own * 2 <= wanted:
        x, own = coarser(x, 1), own * 2
    if own == wanted:
        return x
    for axis, size in zip((-2, -1), hw, strict=True):
        centres = (2 * torch.arange(size, device=x.device) + 1) * wanted // (2 * own)
        # The last centre may lie beyond the canvas.
        x = x.index_select(axis, centres.clamp(max=x.shape[axis] - 1))
    return x
