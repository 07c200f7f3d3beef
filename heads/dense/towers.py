"""Towers: convolutions that are shared by all levels, and one that says something of every place."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..norms import norm_layer
from ..recompute import recomputed


class Tower(nn.Module):
    """`convs` 3x3 convolutions, normalised where `norm` says so, and one more to the outputs."""

    def __init__(self, channels: int, outputs: int, convs: int, norm: str, bias: float) -> None:
        super().__init__()
        blocks = []
        for _ in range(convs):
            layer = (norm_layer(norm) or nn.Identity)(channels)
            blocks.append(nn.Sequential(_conv(channels, channels), layer, nn.ReLU()))
        self.conv = nn.Sequential(*blocks)
        self.output: nn.Module = _conv(channels, outputs, bias)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """(B, C, H, W) of each level -> (B, A, outputs), level after level and row by row."""
        levels = [self.output(self.conv(x)).flatten(2).transpose(1, 2) for x in maps]
        return torch.cat(levels, dim=1)


def _conv(channels: int, outputs: int, bias: float = 0.0) -> nn.Conv2d:
    conv = nn.Conv2d(channels, outputs, 3, padding=1)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.constant_(conv.bias, bias)  # type: ignore[arg-type]
    return conv


def resized_tower(tower: nn.Sequential, convs: int) -> nn.Sequential:
    """The first blocks of a tower of convolutions of one width; more are copies with new weights."""
    blocks = [tower[k] if k < len(tower) else copy.deepcopy(tower[-1]) for k in range(convs)]
    added = [m for block in blocks[len(tower) :] for m in block.modules()]
    for conv in (m for m in added if isinstance(m, nn.Conv2d)):
        nn.init.normal_(conv.weight, std=0.01)
    return nn.Sequential(*blocks)


def tower_outputs(tower: nn.Module, maps: Sequence[Tensor], recompute: bool) -> tuple[Tensor, ...]:
    """What a tower says of all levels, (B, A, ...) each, float32. again: one level at a time, to be
    computed again in the backward pass.
    """
    if not recompute:
        return tuple(x.float() for x in _several(tower(list(maps))))
    levels = [_several(recomputed(tower, [x])) for x in maps]
    return tuple(torch.cat(of_levels, dim=1).float() for of_levels in zip(*levels, strict=True))


def _several(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)
