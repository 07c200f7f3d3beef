"""The rows of a head's layers that belong to classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .embedding import ClassVectors

# The class of rows that belong to none, such as that of the background.
NO_CLASS = -1
# Layers with the class of each row of their weights and biases, (N,).
ClassRows = Sequence[tuple[nn.Module, Tensor]]


def rows_of(
    layer: nn.Module, *, places: int = 1, each: int = 1, background: bool = False
) -> ClassRows:
    """Return a layer with the classes of its rows; nothing where it knows classes by vectors.

    places: the number of groups of rows that hold all classes, one after another. each: the number of rows of
    a class in a group. background: whether one row of no class comes first.
    """
    if isinstance(layer, ClassVectors):
        return ()
    count = (len(layer.weight) - background) // (places * each)  # type: ignore[arg-type]
    rows = torch.arange(count).repeat_interleave(each).repeat(places)
    return ((layer, torch.cat([torch.full((int(background),), NO_CLASS), rows])),)
