"""PANet's neck (Liu et al., arXiv 1803.01534, section 3.1): FPN, followed by a path from fine to coarse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..convolutions import convolution
from ..levels import doubling_levels_of
from .fpn import TopDown
from .settings import PAFPNSettings


class PAFPN(TopDown):
    """FPN's levels P, including the extra ones, followed by a bottom-up path.

    N_min = P_min, and N_(l+1) = conv3x3(P_(l+1) + conv3x3(N_l, stride 2)).
    """

    def __init__(self, spec: PyramidSpec, settings: PAFPNSettings) -> None:
        doubling_levels_of(spec, settings)
        super().__init__(spec, settings)
        self.path = BottomUpPath(len(self.spec.levels), settings)

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The parts of FPN, and the path."""
        return (*super().parts, self.path)

    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Make the levels min_level..max_level from the cached levels."""
        levels = super().forward(pyramid)
        return replace(levels, maps=tuple(self.path(levels.maps)))


class BottomUpPath(nn.Module):
    """The path from each level to the next coarser one."""

    def __init__(self, count: int, settings: PAFPNSettings) -> None:
        super().__init__()
        n, norm, activation = settings.channels, settings.norm, settings.activation
        self.down = nn.ModuleList(
            convolution(n, n, 3, stride=2, norm=norm, activation=activation)
            for _ in range(count - 1)
        )
        self.fuse = nn.ModuleList(
            convolution(n, n, 3, norm=norm, activation=activation) for _ in range(count - 1)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return maps of the same shapes as those given, (B, C, H_l, W_l) each, finest first."""
        out = [maps[0]]
        for x, down, fuse in zip(maps[1:], self.down, self.fuse, strict=True):
            out.append(fuse(x + down(out[-1])))
        return out
