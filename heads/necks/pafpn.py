"""PANet's neck (Liu et al., arXiv 1803.01534, section 3.1): FPN, and a path from fine to coarse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..convolutions import convolution
from ..levels import doubling_levels_of
from ..norms import Activation
from .fpn import TopDown, TopDownSettings


@dataclass(frozen=True, slots=True)
class PAFPNSettings(TopDownSettings):
    """norm: of FPN and path. activation: behind each convolution of the path."""

    name: Literal["pafpn"] = "pafpn"
    activation: Activation = "relu"


class PAFPN(TopDown):
    """N_min = P_min, N_(l+1) = conv3x3(P_(l+1) + conv3x3(N_l, stride 2)); P are FPN's levels, the
    extra ones too.
    """

    def __init__(self, spec: PyramidSpec, settings: PAFPNSettings) -> None:
        doubling_levels_of(spec, settings)
        super().__init__(spec, settings)
        self.path = BottomUpPath(len(self.spec.levels), settings)

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """FPN and the path."""
        return (*super().parts, self.path)

    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Cached levels -> levels min_level..max_level."""
        levels = super().forward(pyramid)
        return replace(levels, maps=tuple(self.path(levels.maps)))


class BottomUpPath(nn.Module):
    """From each level to the next coarser one."""

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
        """(B, C, H_l, W_l) each, finest first, and back."""
        out = [maps[0]]
        for x, down, fuse in zip(maps[1:], self.down, self.fuse, strict=True):
            out.append(fuse(x + down(out[-1])))
        return out
