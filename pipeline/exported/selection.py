"""The choice of detections among all scores and boxes of a batch, in shapes that depend on no value.

It gives what heads/candidates.py and torchvision's RPN give image by image, so any runtime's graph can hold
it: the best of each level, NMS, and a fixed number of detections for each image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torchvision.ops import nms

from .description import Selection

# Boxes (B, S, 4), scores (B, S), groups (B, S) and their number, the threshold, the overlap, and how many
# of a group are needed at most -> which are kept, (B, S) bool.
Kept = Callable[[Tensor, Tensor, Tensor, int, float, float, int], Tensor]
# Runtimes differ in whether a score that equals the threshold reaches it; none is below this one.
_NO_SCORE = 1e-12


@dataclass(frozen=True, slots=True)
class Chosen:
    """The detections of B images, best first, N each.

    boxes: (B, N, 4). scores: (B, N), 0 from where there is none any more. labels: (B, N) int64, -1 there.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def kept_by_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    number: int,
    threshold: float,
    iou: float,
    limit: int,
) -> Tensor:
    """Return which boxes torchvision's NMS keeps, as `Kept` says; more than the limit are kept."""
    flat = scores.flatten()
    chosen = (flat > threshold).nonzero()[:, 0]
    group = chosen.div(scores.shape[1], rounding_mode="floor") * number + groups.flatten()[chosen]
    # Boxes of different groups lie far apart. In float64 this changes no overlap.
    far = group.double() * (boxes.amax().double() + 1.0)
    moved = boxes.flatten(0, 1)[chosen].double() + far[:, None]
    found = chosen[nms(moved, flat[chosen].double(), iou)]
    kept = torch.zeros_like(flat, dtype=torch.bool)
    return kept.index_put((found,), torch.ones_like(found, dtype=torch.bool)).view_as(scores)


def select(boxes: Tensor, scores: Tensor, selection: Selection, kept: Kept = kept_by_nms) -> Chosen:
    """Return the detections among boxes (B, A, R, 4) with scores (B, A, K).

    R is 1 or K: a location has one box for all classes, or one for each.
    """
    classes = scores.shape[2]
    taken, where, levels = _best_of_levels(scores.flatten(1), selection, classes)
    locations, labels = where.div(classes, rounding_mode="floor"), where % classes
    candidates = _rows(boxes.flatten(1, 2), locations if boxes.shape[2] == 1 else where)
    sides = candidates[..., 2:] - candidates[..., :2]
    usable = (taken > selection.threshold) & (sides >= selection.min_side).all(dim=2)
    taken = torch.where(usable, taken, 0.0)
    limit = min(selection.limit, int(taken.shape[1]))
    if selection.within != "none":
        groups, number = {
            "class": (labels, classes),
            "level": (levels, len(selection.counts)),
            "image": (torch.zeros_like(labels), 1),
        }[selection.within]
        threshold = max(selection.threshold, _NO_SCORE)
        among = kept(candidates, taken, groups, number, threshold, selection.iou, limit)
        taken = torch.where(among, taken, 0.0)
    found, order = taken.topk(limit, dim=1)
    absent = found <= 0
    return Chosen(
        _rows(candidates, order).masked_fill(absent[..., None], 0.0),
        found,
        labels.gather(1, order).masked_fill(absent, -1),
    )


def _best_of_levels(
    flat: Tensor, selection: Selection, classes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best of each level of (B, A · K): values, positions and levels, (B, S) each."""
    ends = accumulate(selection.counts, initial=0)
    values, positions, levels = [], [], []
    for level, (start, end) in enumerate(pairwise(end * classes for end in ends)):
        best, at = flat[:, start:end].topk(min(selection.best, end - start), dim=1)
        values.append(best)
        positions.append(at + start)
        levels.append(torch.full_like(at, level))
    return torch.cat(values, dim=1), torch.cat(positions, dim=1), torch.cat(levels, dim=1)


def _rows(table: Tensor, at: Tensor) -> Tensor:
    """Return the rows (B, S, 4) of (B, A, 4) at the positions (B, S)."""
    return table.gather(1, at[..., None].expand(-1, -1, 4))
