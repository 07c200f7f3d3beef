"""Hungarian matching (DETR, Carion et al., arXiv 2005.12872, section 3.1): each object gets one query."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import generalized_box_iou

from ..assign import BACKGROUND
from .boxes import corners_of

# The weights of a pair's costs, and the focal loss's alpha and gamma, as in RT-DETR.
CLASS_COST, BOX_COST, GIOU_COST = 2.0, 5.0, 2.0
ALPHA, GAMMA = 0.25, 2.0
_TINY = 1e-8


@torch.no_grad()
def matches(
    logits: Tensor,
    boxes: Tensor,
    labels: Sequence[Tensor],
    wanted: Sequence[Tensor],
    repeats: int = 1,
) -> Tensor:
    """Return (B, S, Q) int64: the object of its image that each query is matched to, or BACKGROUND.

    Each of the S stages is matched by itself, from logits (B, S, Q, K) and boxes (B, S, Q, 4), centres and
    sizes in shares of the canvas. labels: (N,) of each image. wanted: (N, 4) of each image, as `boxes`.
    repeats: how many queries each object gets. The device is waited for once.
    """
    costs = [pair_costs(*of) for of in zip(logits, boxes, labels, wanted, strict=True)]
    flat = torch.cat([x.flatten() for x in costs]).cpu()
    host = torch.split(flat, [x.numel() for x in costs])
    rows = torch.full(logits.shape[:3], BACKGROUND)
    for image, (x, cost) in enumerate(zip(host, costs, strict=True)):
        for stage, of_stage in enumerate(x.view(cost.shape) if cost.numel() else ()):
            query, row = linear_sum_assignment(of_stage.repeat(1, repeats).numpy())
            rows[image, stage, torch.from_numpy(query)] = torch.from_numpy(row) % cost.shape[2]
    return rows.to(logits.device)


def pair_costs(logits: Tensor, boxes: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """Return the costs (S, Q, N) of an image's queries, (S, Q, ...), for each of its N objects."""
    scores = logits.sigmoid()[..., labels]
    positive = ALPHA * (1 - scores) ** GAMMA * -(scores + _TINY).log()
    negative = (1 - ALPHA) * scores**GAMMA * -(1 - scores + _TINY).log()
    distance = (boxes[:, :, None] - wanted).abs().sum(dim=3)
    giou = generalized_box_iou(corners_of(boxes).flatten(0, 1), corners_of(wanted))
    costs = (
        BOX_COST * distance
        + CLASS_COST * (positive - negative)
        - GIOU_COST * giou.view_as(distance)
    )
    worst = torch.finfo(costs.dtype).max
    return torch.nan_to_num(costs, nan=worst, posinf=worst, neginf=worst)
