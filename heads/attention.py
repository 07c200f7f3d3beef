"""Attention between the members of a set, and the two-layer perceptron that follows it in a transformer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Multi-head self-attention, in which positions are added to queries and keys but not to values.

    It is written out, as the fused kernels of accelerators add gradients in an order that varies. A bias of
    the keys would shift all weights of a query alike and change nothing, so there is none.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)

    def forward(self, x: Tensor, positions: Tensor, attend: Tensor | None = None) -> Tensor:
        """Return (B, N, C) for x and positions (B, N, C).

        attend: (B, N, N) bool, whether the member of a row sees that of a column; None: all see all.
        """
        placed = x + positions
        given = self.query(placed), self.key(placed), self.value(x)
        query, key, value = (y.unflatten(2, (self.heads, -1)).transpose(1, 2) for y in given)
        logits = (query @ key.transpose(2, 3)).float() / query.shape[-1] ** 0.5
        if attend is not None:
            logits = logits.masked_fill(~attend[:, None], -torch.inf)
        seen = logits.softmax(dim=3).to(value.dtype) @ value
        out: Tensor = self.output(seen.transpose(1, 2).flatten(2))
        return out


class Perceptron(nn.Module):
    """Linear layers with an activation between them."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        count: int,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        widths = [inputs, *[hidden] * (count - 1), outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        for k, layer in enumerate(self.layers):
            x = layer(self.activation(x) if k else x)
        return x
