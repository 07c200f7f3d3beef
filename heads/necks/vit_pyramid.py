"""ViTDet's simple feature pyramid (Li et al., arXiv 2203.16527): all levels from maps of one stride."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..convolutions import coarser, convolution
from ..detector import Neck
from ..levels import levels_of_taps
from ..norms import activation_layer, norm_layer
from .settings import TapSettings, ViTPyramidSettings


class TapPyramid(Neck):
    """A pyramid whose levels are all made from one map, which is read out of the taps.

    taps: the module that makes maps (B, C_l, H, W) of all taps one of (B, width, H, W).
    """

    def __init__(
        self, spec: PyramidSpec, settings: TapSettings, taps: nn.Module, width: int
    ) -> None:
        super().__init__(spec)
        first, self.spec = levels_of_taps(spec, settings)
        self.taps = taps
        self.levels = nn.ModuleList(
            _Level(first + k, width, settings) for k in range(len(self.spec.levels))
        )

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The module that reads the taps, and each level."""
        return self.taps, *self.levels

    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Make the levels min_level..max_level from the cached levels."""
        x = self.taps(pyramid.maps)
        sizes = [level.shape(pyramid.canvas_hw)[1:] for level in self.spec.levels]
        maps = tuple(level(x, *hw) for level, hw in zip(self.levels, sizes, strict=True))
        return FeaturePyramid(self.spec, maps, pyramid.canvas_hw)


class ViTPyramid(TapPyramid):
    """A pyramid of levels made from cached maps of one stride.

    Finer levels are made by deconvolution and coarser ones by max-pooling, while the level of the same
    stride takes the map itself; then each level has a 1x1 and a 3x3 convolution.

    Several taps are averaged, each after its own 1x1 convolution and norm: without the norm that would be a
    1x1 convolution of their concatenation, and with it no tap drowns the others because its values are
    larger.
    """

    def __init__(self, spec: PyramidSpec, settings: ViTPyramidSettings) -> None:
        width = spec.channels[-1]
        super().__init__(spec, settings, _Taps(spec.channels, width, settings), width)


class _Taps(nn.Module):
    """The mean of the projected taps; a single tap stays as it is."""

    def __init__(self, inputs: Sequence[int], width: int, settings: ViTPyramidSettings) -> None:
        super().__init__()
        several = inputs if len(inputs) > 1 else ()
        self.convs = nn.ModuleList(convolution(c, width, 1, norm=settings.norm) for c in several)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Average maps (B, C_l, H, W) to one of (B, width, H, W)."""
        if not self.convs:
            return maps[0]
        projected = [conv(x) for conv, x in zip(self.convs, maps, strict=True)]
        return torch.stack(projected).mean(0)


class _Level(nn.Module):
    """One level of a pyramid.

    doublings: how often the stride is doubled, or halved where it is below 0; each halving of the stride
    halves the channels too.
    """

    def __init__(self, doublings: int, width: int, settings: TapSettings) -> None:
        super().__init__()
        self.doublings, n = doublings, settings.channels
        norm, activation = norm_layer(settings.norm), activation_layer(settings.activation)
        self.up = nn.Sequential()
        for k in range(-doublings):
            if k and norm is not None:
                self.up.append(norm(width))
            if k and activation is not None:
                self.up.append(activation())
            self.up.append(nn.ConvTranspose2d(width, max(1, width // 2), 2, stride=2))
            width = max(1, width // 2)
        self.out = nn.Sequential(
            convolution(width, n, 1, norm=settings.norm), convolution(n, n, 3, norm=settings.norm)
        )

    def forward(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Return a map (B, channels, rows, columns) made from x, (B, width, H, W)."""
        x = self.up(coarser(x, max(0, self.doublings)))
        # The last patch may reach beyond the canvas, by more than a whole cell of a finer level.
        out: Tensor = self.out(x[..., :rows, :columns])
        return out
