"""Boxes as a query head knows them: centre, width and height, as shares of the canvas."""

from __future__ import annotations

import torch
from torch import Tensor

# Shares nearer to 0 or 1 than this have the logit of this distance, as in RT-DETR.
EDGE = 1e-5


def shares_of(boxes: Tensor, canvas_hw: tuple[int, int]) -> Tensor:
    """Return boxes (..., 4) xyxy canvas px as centres and sizes in shares of the canvas."""
    low, high = torch.chunk(boxes, 2, dim=-1)
    return torch.cat([(low + high) / 2, high - low], dim=-1) / _sides(boxes, canvas_hw)


def corners_of(shares: Tensor) -> Tensor:
    """Return centres and sizes (..., 4) as xyxy, in the same unit."""
    centre, size = torch.chunk(shares, 2, dim=-1)
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def pixels_of(shares: Tensor, canvas_hw: tuple[int, int]) -> Tensor:
    """Return boxes (..., 4) xyxy canvas px for centres and sizes in shares of the canvas."""
    return corners_of(shares) * _sides(shares, canvas_hw)


def inverse_sigmoid(x: Tensor) -> Tensor:
    """Return the logit of shares, which is finite at 0 and 1 too."""
    x = x.clamp(0, 1)
    return (x.clamp(min=EDGE) / (1 - x).clamp(min=EDGE)).log()


def pair_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU (...,) of boxes (..., 4) xyxy px with boxes (..., 4), pair by pair."""
    low, high = first[..., :2].maximum(second[..., :2]), first[..., 2:].minimum(second[..., 2:])
    overlap = (high - low).clamp(min=0).prod(dim=-1)
    areas = ((x[..., 2:] - x[..., :2]).prod(dim=-1) for x in (first, second))
    return overlap / (sum(areas) - overlap).clamp(min=1e-9)


def _sides(like: Tensor, canvas_hw: tuple[int, int]) -> Tensor:
    return like.new_tensor([canvas_hw[1], canvas_hw[0]] * 2)
