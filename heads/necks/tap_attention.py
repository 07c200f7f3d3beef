"""Attention over the taps of a plain ViT, after InCA (Dukler et al., arXiv 2303.04105).

InCA reads a frozen network's layers by a cross-attention between learnt queries and their tokens, and leaves
the network as it is. Here every location reads its own features in all taps, since a map is wanted and no
vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...cache.errors import ConfigError
from ...cache.pyramid import PyramidSpec
from ..convolutions import convolution, initialise
from .settings import TapAttentionSettings
from .vit_pyramid import TapPyramid


class TapAttention(TapPyramid):
    """A pyramid from one map that an attention reads out of several taps."""

    def __init__(self, spec: PyramidSpec, settings: TapAttentionSettings) -> None:
        channels, heads = settings.channels, settings.attention_heads
        if len(spec.levels) < 2:
            raise ConfigError(
                f"neck tap-attention reads several taps, the cache has only {spec.names[0]}; neck "
                "vit-pyramid takes one"
            )
        if channels % heads:
            raise ConfigError(
                f"setting 'neck.attention_heads': expected a divisor of the {channels} neck.channels, got "
                f"{heads}"
            )
        super().__init__(spec, settings, TapReader(spec.channels, settings), channels)


class TapReader(nn.Module):
    """An attention of each location over its features in all taps, added to their mean.

    Each tap is projected to one width and normalised, and a vector of its own is added, so that the attention
    can tell the taps apart. The mean of a location's taps asks, and its taps answer.
    """

    def __init__(self, inputs: Sequence[int], settings: TapAttentionSettings) -> None:
        super().__init__()
        n, self.heads = settings.channels, settings.attention_heads
        self.convs = nn.ModuleList(convolution(c, n, 1, norm=settings.norm) for c in inputs)
        self.names = nn.Parameter(torch.randn(len(inputs), n) * 0.02)
        self.query = nn.Linear(n, n)
        # A bias of the keys would change nothing.
        self.key = nn.Linear(n, n, bias=False)
        self.value = nn.Linear(n, n)
        self.output = nn.Linear(n, n)
        initialise(nn.ModuleList([self.query, self.key, self.value, self.output]))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Read maps (B, C_l, H, W) to one of (B, channels, H, W)."""
        projected = [conv(x).permute(0, 2, 3, 1) for conv, x in zip(self.convs, maps, strict=True)]
        taps = torch.stack(projected, dim=3) + self.names
        mean = taps.mean(dim=3)
        query = self.query(mean)[..., None, :]
        query, key, value = (self._by_head(x) for x in (query, self.key(taps), self.value(taps)))
        logits = (query * key).float().sum(dim=-1, keepdim=True) / key.shape[-1] ** 0.5
        read = (logits.softmax(dim=3).to(value.dtype) * value).sum(dim=3).flatten(3)
        out: Tensor = mean + self.output(read)
        return out.permute(0, 3, 1, 2).contiguous()

    def _by_head(self, x: Tensor) -> Tensor:
        """Return (B, H, W, T, M, D) for x (B, H, W, T, M * D)."""
        return x.reshape(*x.shape[:-1], self.heads, x.shape[-1] // self.heads)
