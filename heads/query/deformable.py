"""Multi-scale deformable attention (Zhu et al., arXiv 2010.04159), with a sampler that repeats itself.

`grid_sample` adds the gradients of the maps with atomic additions on accelerators, so that two equal runs
would differ. Here the four cells around each point are looked up with `embedding`, whose gradient is summed
in a fixed order on every device. That keeps four values of a map for each point until the backward pass,
where `grid_sample` keeps one: with B images, Q queries, C channels, l levels and P points, 4 * B * Q * C * l
* P in place of B * Q * C * l * P. On one thread of a CPU it took 58 ms with its gradient, `grid_sample` 43 ms
(B 4, Q 150, C 256, l 3, P 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# The rows and columns of each level.
Sizes = Sequence[tuple[int, int]]


class DeformableAttention(nn.Module):
    """Attention of each query to `points` points of each level, whose places it chooses by its box.

    projected: whether values and results pass through a linear layer (RT-DETR) or not (D-FINE).
    """

    def __init__(
        self, channels: int, heads: int, levels: int, points: int, projected: bool
    ) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.offsets = nn.Linear(channels, heads * levels * points * 2)
        self.weights = nn.Linear(channels, heads * levels * points)
        self.value = nn.Linear(channels, channels) if projected else nn.Identity()
        self.output = nn.Linear(channels, channels) if projected else nn.Identity()
        for choice in (self.offsets, self.weights):
            nn.init.zeros_(choice.weight)
            nn.init.zeros_(choice.bias)
        self.offsets.bias.data.copy_(_first_offsets(heads, levels, points).flatten())
        for layer in (self.value, self.output):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, queries: Tensor, boxes: Tensor, tokens: Tensor, sizes: Sizes) -> Tensor:
        """Return (B, Q, C) for queries (B, Q, C).

        boxes: (B, Q, 4), centres and sizes in shares of the canvas. tokens: (B, A, C), the cells of all
        levels.
        """
        shape = (self.heads, self.levels, self.points)
        offsets = self.offsets(queries).float().unflatten(2, (*shape, 2))
        weights = self.weights(queries).float().unflatten(2, (self.heads, -1)).softmax(dim=3)
        centre, size = boxes[:, :, None, None, None].chunk(2, dim=-1)
        places = centre + offsets / self.points * size / 2
        values = self.value(tokens).unflatten(2, (self.heads, -1))
        out: Tensor = self.output(sampled(values, places, weights.unflatten(3, shape[1:]), sizes))
        return out


def sampled(values: Tensor, places: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
    """Return (B, Q, M * D): the weighted sums of the values at the places, head after head.

    values: (B, A, M, D), the cells of all levels, each with its value for M heads. places: (B, Q, M, l, P,
    2), xy in shares of the canvas. weights: (B, Q, M, l, P). Between the centres of four cells values are
    interpolated; beyond a map they are zero.
    """
    batch, cells, heads, _ = values.shape
    index, shares, start = [], [], 0
    for level, (rows, columns) in enumerate(sizes):
        cell, share = _corners(places[:, :, :, level], rows, columns)
        index.append(cell + start)
        shares.append(share * weights[:, :, :, level, :, None])
        start += rows * columns
    chosen = torch.cat(index, dim=3).flatten(3)
    images = torch.arange(batch, device=values.device)[:, None, None, None] * cells
    row = (chosen + images) * heads + torch.arange(heads, device=values.device)[:, None]
    found = functional.embedding(row, values.flatten(0, 2))
    share = torch.cat(shares, dim=3).flatten(3)[..., None, :].to(found.dtype)
    return (share @ found).flatten(2)


def _corners(places: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Return the indices of the four cells around each place (..., 2), and their shares, (..., 4) each."""
    x, y = (places * places.new_tensor([columns, rows]) - 0.5).unbind(dim=-1)
    index, shares = [], []
    # A point beyond the outer cells' neighbours has no share in any of them wherever it is.
    x, y = x.clamp(-1, columns), y.clamp(-1, rows)
    left, top = x.floor().detach(), y.floor().detach()
    for row, of_row in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, of_column in ((left, 1 - (x - left)), (left + 1, x - left)):
            inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            cell = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)
            index.append(cell.long())
            shares.append(of_row * of_column * inside)
    return torch.stack(index, dim=-1), torch.stack(shares, dim=-1)


def _first_offsets(heads: int, levels: int, points: int) -> Tensor:
    """Return (M, l, P, 2): each head begins with a direction of its own, and its points in a row."""
    angles = torch.arange(heads) * (2 * math.pi / heads)
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    directions = directions / directions.abs().amax(dim=1, keepdim=True)
    steps = torch.arange(1, points + 1)[:, None]
    return (directions[:, None, None] * steps).expand(heads, levels, points, 2)
