"""Levels of a second backbone joined with those of the first, below any neck."""

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
    """A neck over the levels of the first backbone, each joined with the second's of the same stride:
    where it has none, with those of the nearest, brought to the size of the first's.
    """

    def __init__(self, spec: PyramidSpec, fusion: Fusion, neck: Neck) -> None:
        """spec: of both. neck: takes the levels of the first alone."""
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
        """Each fused level, and the parts of the neck."""
        return *self.levels, *self.neck.parts

    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """The levels of both backbones -> those of the neck."""
        inputs = [[pyramid.maps[k] for k in of_level] for of_level in self._inputs]
        maps = tuple(level(*of) for level, of in zip(self.levels, inputs, strict=True))
        fused: FeaturePyramid = self.neck(FeaturePyramid(self.neck.cached, maps, pyramid.canvas_hw))
        return fused


class FusedLevel(nn.Module):
    """A map of the first backbone, and of the second each behind a 1x1 convolution and a norm: their
    sum, or what a 1x1 convolution makes of both. The channels are those of the first.
    """

    def __init__(self, level: LevelSpec, others: Sequence[LevelSpec], fusion: Fusion) -> None:
        super().__init__()
        self.stride, self.strides = level.stride, [other.stride for other in others]
        n = level.channels
        # Levels of a backbone are wide.
        self.projections = nn.ModuleList(
            convolution(other.channels, n, 1, norm="gn32") for other in others
        )
        self.joined = convolution(2 * n, n, 1) if fusion == "concat" else None

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """(B, C, H, W), and (B, C_k, H_k, W_k) of each other -> (B, C, H, W)."""
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
    """All of the stride that is nearest by its factor, the finer of two."""
    strides = sorted({other.stride for other in others})
    nearest = min(strides, key=lambda stride: abs(math.log2(stride / level.stride)))
    return [other for other in others if other.stride == nearest]


def at_stride(x: Tensor, own: int, wanted: int, hw: tuple[int, int]) -> Tensor:
    """(B, C, H, W) at stride `own` -> (B, C, *hw) at stride `wanted`: each place takes the value of the
    place that covers its centre, after max-pooling where that is finer by a factor of 2 or more.
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
