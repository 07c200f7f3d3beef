"""The layers of the decoder: queries that look at each other and at the levels, and correct their boxes."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from ..attention import Perceptron, SelfAttention
from ..convolutions import initialise_output
from .deformable import DeformableAttention, Sizes
from .settings import QuerySettings

# The score of every class in a fresh head.
PRIOR = 0.01


class Stage(nn.Module):
    """A decoder layer, and the layers that give classes and corrections of boxes for its result."""

    def __init__(self, channels: int, levels: int, classes: int, settings: QuerySettings) -> None:
        super().__init__()
        self.layer = DecoderLayer(channels, levels, settings)
        distribution = settings.regression == "distribution"
        outputs = 4 * (settings.reg_max + 1) if distribution else 4
        self.boxes = box_layers(channels, outputs)
        self.classifier: nn.Module = class_layer(channels, classes)

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        boxes: Tensor,
        tokens: Tensor,
        sizes: Sizes,
        attend: Tensor | None,
        before: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the queries (B, Q, C), their logits (B, Q, K) and corrections (B, Q, R), float32.

        before: (B, Q, C), what is added to the queries for the corrections alone. The rest is as in
        `DecoderLayer.forward`.
        """
        queries = self.layer(queries, positions, boxes, tokens, sizes, attend)
        moved = self.boxes(queries if before is None else queries + before)
        return queries, self.classifier(queries).float(), moved.float()


class DecoderLayer(nn.Module):
    """Self-attention between the queries, deformable attention to the levels, and a perceptron.

    With D-FINE's regression the result of the deformable attention is joined with the query by a gate.
    """

    def __init__(self, channels: int, levels: int, settings: QuerySettings) -> None:
        super().__init__()
        distribution = settings.regression == "distribution"
        self.self_attention = SelfAttention(channels, settings.attention_heads)
        self.self_norm = nn.LayerNorm(channels)
        self.cross_attention = DeformableAttention(
            channels, settings.attention_heads, levels, settings.points, not distribution
        )
        self.joined = Gate(channels) if distribution else Sum(channels)
        self.feed_forward = Perceptron(channels, settings.ffn_channels, channels, 2)
        self.last_norm = nn.LayerNorm(channels)

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        boxes: Tensor,
        tokens: Tensor,
        sizes: Sizes,
        attend: Tensor | None,
    ) -> Tensor:
        """Return the queries (B, Q, C).

        positions: (B, Q, C). boxes: (B, Q, 4), centres and sizes in shares of the canvas. tokens: (B, A, C),
        the cells of all levels, of these sizes. attend: (B, Q, Q) bool, which query sees which; None for all.
        """
        x = self.self_norm(queries + self.self_attention(queries, positions, attend))
        x = self.joined(x, self.cross_attention(x + positions, boxes, tokens, sizes))
        return cast(Tensor, self.last_norm(x + self.feed_forward(x)))


class Sum(nn.Module):
    """The normalised sum of two tensors."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return (..., C)."""
        return cast(Tensor, self.norm(x + other))


class Gate(nn.Module):
    """D-FINE's normalised sum of two tensors, each weighed by a sigmoid of both (arXiv 2410.13842)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * channels, 2 * channels)
        self.norm = nn.LayerNorm(channels)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return (..., C)."""
        first, second = self.gate(torch.cat([x, other], dim=-1)).sigmoid().chunk(2, dim=-1)
        return cast(Tensor, self.norm(first * x + second * other))


def class_layer(channels: int, classes: int) -> nn.Linear:
    """Build a layer that gives every class the same low score at first."""
    layer = nn.Linear(channels, classes)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.constant_(layer.bias, -math.log((1 - PRIOR) / PRIOR))
    return layer


def box_layers(channels: int, outputs: int) -> Perceptron:
    """Build the three layers that correct a box, at first by next to nothing.

    The papers begin with exactly nothing, so that only the last layer learns from the first step.
    """
    layers = Perceptron(channels, channels, outputs, 3)
    initialise_output(layers.layers[-1], 1e-3)
    return layers
