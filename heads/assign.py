"""The object that each anchor or location learns: for one image a row of its objects, or none.

A match is (A,) int64: a row, BACKGROUND, or IGNORED. Nothing here waits for the device. Images have
different numbers of objects, so each image is matched separately; then the rows of all images belong to one
table, and the rest is done as one batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_iou

from .types import Targets

BACKGROUND, IGNORED = -1, -2
# This is smaller than any IoU that matters.
EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Assigned:
    """The objects that the locations of a batch learn.

    rows: (B, A) int64, rows of the objects of all images one after the other, or BACKGROUND or IGNORED.
    boxes, labels: (N, 4) and (N,), of those objects.
    """

    rows: Tensor
    boxes: Tensor
    labels: Tensor

    @property
    def foreground(self) -> Tensor:
        """Return whether each location learns an object, (B, A) bool."""
        return self.rows >= 0

    @property
    def location_labels(self) -> Tensor:
        """The class of each location, (B, A), or BACKGROUND."""
        return self.spread(self.labels - BACKGROUND) + BACKGROUND

    def spread(self, values: Tensor) -> Tensor:
        """Spread values (N, ...) of the objects over the locations, (B, A, ...); the others get zeros."""
        padded = torch.cat([values, values.new_zeros((1, *values.shape[1:]))])
        # Row -1 holds the zeros.
        return padded[self.rows.clamp(min=-1)]


def assigned(targets: Sequence[Targets], matches: Sequence[Tensor], locations: Tensor) -> Assigned:
    """Combine the matches of a batch's images, each over the objects of its own image.

    locations: anchors (A, 4) or points (A, 2); background ones within an ignored box are ignored.
    """
    rows, start = [], 0
    for of_image, match in zip(targets, matches, strict=True):
        if (within := within_ignored(locations, of_image)) is not None:
            match = match.masked_fill(within & (match == BACKGROUND), IGNORED)
        rows.append((match + start).where(match >= 0, match))
        start += len(of_image.labels)
    boxes, labels = torch.cat([t.boxes for t in targets]), torch.cat([t.labels for t in targets])
    return Assigned(torch.stack(rows), boxes, labels)


def locations_per_object(match: Tensor, count: int) -> Tensor:
    """Return (count,): how many locations of a match (A,) learn each of an image's objects."""
    return torch.bincount(match[match >= 0], minlength=count)


def within_ignored(locations: Tensor, targets: Targets) -> Tensor | None:
    """Return (A,) bool: which boxes or points lie within one of an image's ignored boxes; None without any.

    locations: boxes (A, 4), which must lie within an ignored box by half of their area, or points (A, 2).
    """
    boxes = targets.ignored
    if boxes is None or not len(boxes):
        return None
    if locations.shape[1] == 2:
        return _within(locations, boxes).any(dim=0)
    low = boxes[:, None, :2].maximum(locations[:, :2])
    high = boxes[:, None, 2:].minimum(locations[:, 2:])
    inside = (high - low).clamp(min=0).prod(dim=2)
    areas = (locations[:, 2:] - locations[:, :2]).prod(dim=1)
    return (inside >= (areas / 2).clamp(min=EPSILON)).any(dim=0)


def iou_match(boxes: Tensor, anchors: Tensor, foreground: float, background: float) -> Tensor:
    """Match each anchor (A, 4) to the object, of boxes (N, 4), that it overlaps most.

    It takes the object from an IoU of `foreground` on; below `background` it takes none, and in between it
    is ignored. The anchors that overlap an object more than all others are foreground in any case (Faster
    R-CNN, arXiv 1506.01497, section 3.1.2).
    """
    if not len(boxes):
        return _nothing(anchors)
    iou: Tensor = box_iou(boxes, anchors)
    best, match = iou.max(dim=0)
    highest = iou.amax(dim=1, keepdim=True).clamp(min=EPSILON)
    taken = (best >= foreground) | (iou >= highest).any(dim=0)
    return match.where(taken, torch.where(best < background, BACKGROUND, IGNORED))


def centre_match(
    boxes: Tensor, points: Tensor, strides: Tensor, reaches: Tensor, radius: float
) -> Tensor:
    """Match points to objects as in FCOS (Tian et al., arXiv 1904.01355).

    An object (N, 4) is learnt by the points (A, 2) within it that are less than `radius` strides (A, 1)
    from its centre on both axes, and whose largest distance to its sides is within the location's `reaches`
    (A, 2), in px. A point with a choice takes the smallest object.
    """
    if not len(boxes):
        return _nothing(points)
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    distances = torch.cat([points - low, high - points], dim=2)
    near = (points - (low + high) / 2).abs().amax(dim=2) < radius * strides[:, 0]
    nearest, farthest = distances.amin(dim=2), distances.amax(dim=2)
    fits = near & (nearest > 0) & (farthest >= reaches[:, 0]) & (farthest <= reaches[:, 1])
    sizes = high - low
    areas = (sizes[..., 0] * sizes[..., 1]).expand_as(fits)
    smallest, match = areas.masked_fill(~fits, math.inf).min(dim=0)
    return match.where(smallest < math.inf, BACKGROUND)


@dataclass(frozen=True, slots=True)
class Alignment:
    """Task alignment learning: t = s^alpha · u^beta of score and IoU, and `top_k` locations an object."""

    alpha: float
    beta: float
    top_k: int

    def match(
        self, wanted: Targets, logits: Tensor, boxes: Tensor, points: Tensor, min_side: float
    ) -> tuple[Tensor, Tensor]:
        """Return the match, and the quality (A,) that each location is to predict.

        In TOOD (Feng et al., arXiv 2108.07755, section 3.2) an object is learnt by the `top_k` points (A,
        2) within it that have the largest t, from the logits (A, K) and boxes (A, 4) predicted there. A
        location that several objects take goes to the one with the largest IoU. The quality is the
        location's t, scaled so that the largest of an object is the largest IoU among its locations; it is
        0 for background. min_side: the minimum width and height in px of an object when points within it are
        looked for; the paper would leave an object without any point unlearnt.
        """
        if not len(wanted.boxes):
            return _nothing(points), torch.zeros_like(points[:, 0])
        iou = box_iou(wanted.boxes, boxes)
        # Logarithms are used as u^6 of a fresh head soon falls below the range of float32.
        scores = functional.logsigmoid(logits.t()[wanted.labels])
        metric = self.alpha * scores + self.beta * iou.clamp(min=EPSILON).log()
        chosen = self._chosen(metric, _within(points, wanted.boxes, min_side))
        best, match = iou.masked_fill(~chosen, -1.0).max(dim=0)
        foreground = best >= 0
        rows = torch.arange(len(iou), device=iou.device)
        mine = chosen & (rows[:, None] == match)
        top_metric = metric.masked_fill(~mine, -math.inf).amax(dim=1)[match]
        top_iou = iou.masked_fill(~mine, 0.0).amax(dim=1)[match]
        quality = (metric.gather(0, match[None])[0] - top_metric).exp() * top_iou
        return match.where(foreground, BACKGROUND), quality.where(foreground, 0.0)

    def _chosen(self, metric: Tensor, within: Tensor) -> Tensor:
        """Return (N, A) bool: which locations each object asks for."""
        count = min(self.top_k, metric.shape[1])
        top = metric.masked_fill(~within, -math.inf).topk(count, dim=1).indices
        return torch.zeros_like(within).scatter(1, top, True) & within


def _within(points: Tensor, boxes: Tensor, min_side: float = 0.0) -> Tensor:
    """Return (N, A) bool: whether a point lies in a box or on its edge.

    Each box counts as at least `min_side` px wide and high.
    """
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    halves = (boxes[:, None, 2:] - boxes[:, None, :2]).clamp(min=min_side) / 2
    return ((points - centres).abs() <= halves).all(dim=2)


def _nothing(locations: Tensor) -> Tensor:
    return torch.full((len(locations),), BACKGROUND, device=locations.device)
