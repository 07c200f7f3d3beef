"""Towers: convolutions that all levels share, the last of which gives the outputs of every location."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..norms import norm_layer
from ..recompute import recomputed


class Tower(nn.Module):
    """A tower of `convs` 3x3 convolutions, each with a norm if `norm` names one, and one to the outputs.

    bias: the first bias of the outputs, one for all or (outputs,).
    """

    def __init__(
        self, channels: int, outputs: int, convs: int, norm: str, bias: float | Tensor
    ) -> None:
        super().__init__()
        blocks = []
        for _ in range(convs):
            layer = (norm_layer(norm) or nn.Identity)(channels)
            blocks.append(nn.Sequential(_conv(channels, channels), layer, nn.ReLU()))
        self.conv = nn.Sequential(*blocks)
        self.output: nn.Module = _conv(channels, outputs, bias)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Map (B, C, H, W) of each level to (B, A, outputs), level after level and row by row."""
        levels = [self.output(self.conv(x)).flatten(2).transpose(1, 2) for x in maps]
        return torch.cat(levels, dim=1)


def _conv(channels: int, outputs: int, bias: float | Tensor = 0.0) -> nn.Conv2d:
    conv = nn.Conv2d(channels, outputs, 3, padding=1)
    nn.init.normal_(conv.weight, std=0.01)
    with torch.no_grad():
        conv.bias.copy_(torch.as_tensor(bias))  # type: ignore[union-attr]
    return conv


def resized_tower(tower: nn.Sequential, convs: int) -> nn.Sequential:
    """Return the first `convs` blocks of a tower of one width; further ones are copies with new weights."""
    blocks = [tower[k] if k < len(tower) else copy.deepcopy(tower[-1]) for k in range(convs)]
    added = [m for block in blocks[len(tower) :] for m in block.modules()]
    for conv in (m for m in added if isinstance(m, nn.Conv2d)):
        nn.init.normal_(conv.weight, std=0.01)
    return nn.Sequential(*blocks)


def tower_outputs(tower: nn.Module, maps: Sequence[Tensor], recompute: bool) -> tuple[Tensor, ...]:
    """Return a tower's outputs for all levels, (B, A, ...) each, in float32.

    recompute: whether activations are recomputed in the backward pass, one level at a time.
    """
    if not recompute:
        return tuple(x.float() for x in _several(tower(list(maps))))
    levels = [_several(recomputed(tower, [x])) for x in maps]
    return tuple(torch.cat(of_levels, dim=1).float() for of_levels in zip(*levels, strict=True))


def _several(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)
