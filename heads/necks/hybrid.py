"""RT-DETR's hybrid encoder (Zhao et al., arXiv 2304.08069, section 4.2): attention, then CSP-PAN.

Transformer layers on the coarsest cached level alone, and then a path from coarse to fine and one back, in
which two levels are joined by a CSP block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...cache.errors import ConfigError
from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..attention import Perceptron, SelfAttention
from ..convolutions import coarser, convolution, finer
from ..detector import Neck
from ..levels import doubling_levels_of, levels_of_taps
from ..memo import Memo
from ..norms import activation_layer
from .settings import HybridSettings

# The base of the wavelengths of positions.
TEMPERATURE = 10000.0


class Hybrid(Neck):
    """The hybrid encoder over a pyramid, or over taps of a plain ViT.

    Of a pyramid, each level is projected, and levels coarser than the cache's are made by max-pooling after
    the transformer layers. Of taps the mean is resized to each level and then projected, as in EdgeCrafter;
    the transformer layers work on the coarsest level.
    """

    def __init__(self, spec: PyramidSpec, settings: HybridSettings) -> None:
        super().__init__(spec)
        channels, norm = settings.channels, settings.norm
        # Each axis of a position has sines and cosines.
        if channels % 4 or channels % settings.attention_heads:
            raise ConfigError(
                "setting 'neck.channels': neck hybrid expects a multiple of 4 and of its "
                f"{settings.attention_heads} neck.attention_heads, got {channels}"
            )
        self.flat = len(set(spec.strides)) == 1 or bool(settings.taps)
        if self.flat:
            self._first, self.spec = levels_of_taps(spec, settings)
            self._used = _last_taps(spec, settings.taps)
            inputs = [spec.channels[-1]] * len(self.spec.levels)
        else:
            self._used, self.spec = doubling_levels_of(spec, settings)
            inputs = [spec.channels[k] for k in self._used]
        self.inputs = nn.ModuleList(convolution(c, channels, 1, norm=norm) for c in inputs)
        self.encoder = nn.ModuleList(EncoderLayer(settings) for _ in range(settings.encoder_layers))
        self.paths = Paths(len(self.spec.levels), settings)
        self._positions = Memo(sine_positions)

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The projections, the transformer layers and the two paths."""
        return *self.inputs, *self.encoder, self.paths

    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Make the levels min_level..max_level from the cached levels."""
        given = [pyramid.maps[k] for k in self._used]
        if self.flat:
            given = self._resized(given, pyramid.canvas_hw)
        maps = [project(x) for project, x in zip(self.inputs, given, strict=True)]
        maps[-1] = self._attended(maps[-1])
        while len(maps) < len(self.spec.levels):
            maps.append(coarser(maps[-1], 1))
        return FeaturePyramid(self.spec, tuple(self.paths(maps)), pyramid.canvas_hw)

    def _resized(self, taps: Sequence[Tensor], canvas_hw: tuple[int, int]) -> list[Tensor]:
        """Return the mean of the taps at the size of each level."""
        mean = torch.stack(tuple(taps)).mean(0)
        sizes = [level.shape(canvas_hw)[1:] for level in self.spec.levels]
        return [resized(mean, self._first + k, *hw) for k, hw in enumerate(sizes)]

    def _attended(self, x: Tensor) -> Tensor:
        rows, columns = x.shape[-2:]
        tokens = x.flatten(2).transpose(1, 2)
        positions = self._positions(rows, columns, x.shape[1], x.device)
        for layer in self.encoder:
            tokens = layer(tokens, positions)
        return tokens.transpose(1, 2).reshape(*tokens.shape[::2], rows, columns)


def _last_taps(spec: PyramidSpec, count: int) -> list[int]:
    """Return the positions of the last taps. Raises ConfigError for more taps than there are."""
    levels = len(spec.levels)
    if count > levels:
        raise ConfigError(f"setting 'neck.taps': the cache has {levels} levels, got {count}")
    used = list(range(levels))[-count or None :]
    if len({spec.channels[k] for k in used}) > 1:
        raise ConfigError(
            "neck hybrid takes the mean of taps: expected taps of as many channels, got "
            f"{', '.join(str(spec.channels[k]) for k in used)}; set neck.taps, or take neck vit-pyramid"
        )
    return used


def resized(x: Tensor, doublings: int, rows: int, columns: int) -> Tensor:
    """Return a map (B, C, rows, columns) at a stride of 2^doublings times that of x, (B, C, H, W).

    Finer maps are interpolated, coarser ones averaged. The last patch may reach beyond the canvas, by more
    than a whole cell of a finer level.
    """
    if doublings > 0:
        x = functional.avg_pool2d(x, 2**doublings, ceil_mode=True)
    elif doublings < 0:
        x = functional.interpolate(x, scale_factor=float(2**-doublings), mode="bilinear")
    return x[..., :rows, :columns]


class EncoderLayer(nn.Module):
    """A transformer layer, normalised after each of its two halves."""

    def __init__(self, settings: HybridSettings) -> None:
        super().__init__()
        channels = settings.channels
        self.self_attention = SelfAttention(channels, settings.attention_heads)
        self.self_norm = nn.LayerNorm(channels)
        self.feed_forward = Perceptron(channels, settings.ffn_channels, channels, 2, nn.GELU)
        self.last_norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Return tokens (B, N, C) for tokens (B, N, C) and positions (N, C)."""
        x = self.self_norm(tokens + self.self_attention(tokens, positions.to(tokens.dtype)))
        return cast(Tensor, self.last_norm(x + self.feed_forward(x)))


class Paths(nn.Module):
    """The path from coarse to fine, and the one back.

    Coarse to fine, T_l = csp(finer(lateral(T_(l+1))), P_l), where T of the coarsest level is its P; then
    N_(l+1) = csp(conv3x3(N_l, stride 2), lateral(T_(l+1))), where N of the finest level is its T.
    """

    def __init__(self, count: int, settings: HybridSettings) -> None:
        super().__init__()
        n, norm, activation = settings.channels, settings.norm, settings.activation
        steps = range(count - 1)
        self.lateral = nn.ModuleList(
            convolution(n, n, 1, norm=norm, activation=activation) for _ in steps
        )
        self.down = nn.ModuleList(Fusion(settings) for _ in steps)
        self.strided = nn.ModuleList(
            convolution(n, n, 3, stride=2, norm=norm, activation=activation) for _ in steps
        )
        self.up = nn.ModuleList(Fusion(settings) for _ in steps)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return maps of the same shapes as those given, (B, C, H_l, W_l) each, finest first."""
        down = [maps[-1]]
        for x, lateral, fusion in zip(maps[-2::-1], self.lateral, self.down, strict=True):
            down[0] = lateral(down[0])
            down.insert(0, fusion(finer(down[0], 1, (x.shape[-2], x.shape[-1])), x))
        out = [down[0]]
        for x, strided, fusion in zip(down[1:], self.strided, self.up, strict=True):
            out.append(fusion(strided(out[-1]), x))
        return out


class Fusion(nn.Module):
    """Two maps, joined by a cross stage partial block of RepVGG blocks (arXiv 1911.11929, 2101.03697)."""

    def __init__(self, settings: HybridSettings) -> None:
        super().__init__()
        n, norm, activation = settings.channels, settings.norm, settings.activation
        hidden = max(1, round(n * settings.expansion))
        self.first = convolution(2 * n, hidden, 1, norm=norm, activation=activation)
        self.second = convolution(2 * n, hidden, 1, norm=norm, activation=activation)
        self.blocks = nn.Sequential(*(Block(hidden, settings) for _ in range(settings.blocks)))
        self.last: nn.Module = nn.Identity()
        if hidden != n:
            self.last = convolution(hidden, n, 1, norm=norm, activation=activation)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Join two maps of (B, C, H, W) to one of the same shape."""
        both = torch.cat([x, other.to(x.dtype)], dim=1)
        out: Tensor = self.last(self.blocks(self.first(both)) + self.second(both))
        return out


class Block(nn.Module):
    """A RepVGG block: the activated sum of a 3x3 and a 1x1 convolution."""

    def __init__(self, channels: int, settings: HybridSettings) -> None:
        super().__init__()
        self.wide = convolution(channels, channels, 3, norm=settings.norm)
        self.narrow = convolution(channels, channels, 1, norm=settings.norm)
        self.activation = (activation_layer(settings.activation) or nn.Identity)()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        out: Tensor = self.activation(self.wide(x) + self.narrow(x))
        return out


def sine_positions(rows: int, columns: int, channels: int, device: torch.device) -> Tensor:
    """Return (rows * columns, channels): sines and cosines of the row, then those of the column."""
    count = channels // 4
    rates = TEMPERATURE ** -(torch.arange(count, dtype=torch.float64) / count)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.flatten().double()[:, None] * rates for place in (y, x)]
    waves = [wave for angle in angles for wave in (angle.sin(), angle.cos())]
    return torch.cat(waves, dim=1).float().to(device)
