"""The offsets (x, y, w, h) of Faster R-CNN from one box to another; zeros change no bit of a box."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# As in Detectron: a side grows at most by the factor 1000 / 16.
MAX_LOG = math.log(1000 / 16)
_EPSILON = 1e-6


def deltas_between(boxes: Tensor, wanted: Tensor) -> Tensor:
    """Return the offsets (N, 4) that move boxes (N, 4) xyxy to those that are wanted (N, 4)."""
    corner, size = _parts(boxes)
    to_corner, to_size = _parts(wanted)
    shift = (to_corner + to_size / 2 - corner - size / 2) / size
    return torch.cat([shift, (to_size / size).log()], dim=1)


def moved_boxes(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Return boxes (..., 4) xyxy, moved by offsets (..., 4), of which zeros return the same bits."""
    size = boxes[..., 2:] - boxes[..., :2]
    shift = deltas[..., :2] * size
    growth = deltas[..., 2:].clamp(max=MAX_LOG).expm1() * size / 2
    return boxes + torch.cat([shift - growth, shift + growth], dim=-1)


def _parts(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return boxes[:, :2], (boxes[:, 2:] - boxes[:, :2]).clamp(min=_EPSILON)
