"""Losses of every location separately, float32: none is selected, so nothing waits for the device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-7


def focal_loss(
    logits: Tensor, labels: Tensor, counted: Tensor | None = None, alpha: float = 0.25
) -> Tensor:
    """Return (B, A): the focal loss of each location, summed over classes.

    It is that of Lin et al., arXiv 1708.02002, with gamma 2. logits: (B, A, K). labels: (B, A) int64,
    0..K-1, or below 0 for background. counted: (B, K), the classes that count in an image's loss, its
    labels among them; None for all.
    """
    foreground, own, others = _split(logits, labels, counted)
    costs = alpha * torch.sigmoid(-own).square() * functional.softplus(-own)
    return (1 - alpha) * others + costs.where(foreground, 0.0)


def quality_focal_loss(
    logits: Tensor, labels: Tensor, quality: Tensor, counted: Tensor | None = None
) -> Tensor:
    """Return (B, A): the quality focal loss of each location.

    It is equation 2 of Li et al., arXiv 2006.04388, with beta 2: the focal loss with a soft target for the
    class of each location, quality (B, A) in 0..1, and without alpha.
    """
    foreground, own, others = _split(logits, labels, counted)
    entropy = functional.binary_cross_entropy_with_logits(own, quality, reduction="none")
    costs = (quality - own.sigmoid()).square() * entropy
    return others + costs.where(foreground, 0.0)


def _split(logits: Tensor, labels: Tensor, counted: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each location, (B, A): whether it is foreground, its class's logit and the others' cost.

    The cost is p² · -log(1 - p), summed over all other classes that count. Few locations have a class, so
    making a target (B, A, K) is not worthwhile.
    """
    foreground = labels >= 0
    index = labels.clamp(min=0)[..., None]
    own = logits.gather(2, index)
    # A logit of -inf costs nothing and receives no gradient.
    others = logits.scatter(2, index, own.masked_fill(foreground[..., None], -math.inf))
    if counted is not None:
        others = others.masked_fill(~counted[:, None], -math.inf)
    costs = others.sigmoid().square() * functional.softplus(others)
    return foreground, own[..., 0], costs.sum(dim=2)


def distribution_focal_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return (...,): the distribution focal loss (Li et al., arXiv 2006.04388, equation 6).

    It is the cross-entropy of a distribution over 0, 1, ... R, by its logits (..., R + 1), to a number wanted
    (...,), which counts for the two whole numbers around it by its nearness to each. Numbers outside 0..R
    count as the nearest of the two.
    """
    last = logits.shape[-1] - 1
    within = wanted.clamp(0, last)
    low = within.floor().clamp(max=last - 1)
    share = within - low
    index = torch.stack([low, low + 1], dim=-1).long()
    near = logits.log_softmax(dim=-1).gather(-1, index)
    return -((1 - share) * near[..., 0] + share * near[..., 1])


def giou_loss(boxes: Tensor, wanted: Tensor) -> Tensor:
    """Return (...,): 1 - generalised IoU (Rezatofighi et al., arXiv 1902.09630) of boxes (..., 4) xyxy.

    torchvision's version selects the pairs that overlap, for which it must wait for the device.
    """
    (near, far), (low, high) = torch.chunk(boxes, 2, dim=-1), torch.chunk(wanted, 2, dim=-1)
    overlap = _area((far.minimum(high) - near.maximum(low)).clamp(min=0))
    union = _area(far - near) + _area(high - low) - overlap
    hull = _area(far.maximum(high) - near.minimum(low))
    return 1 - overlap / (union + EPSILON) + (hull - union) / (hull + EPSILON)


def _area(sizes: Tensor) -> Tensor:
    return sizes[..., 0] * sizes[..., 1]


def per_image(costs: Tensor, counts: Tensor, normaliser: float | str) -> Tensor:
    """Return (B,): the sum of each image's costs (B, A), divided by the normaliser.

    Where that is not a number, the divisor is the image's own count (B,), or 1 if that is larger.
    """
    by = counts.clamp(min=1) if isinstance(normaliser, str) else normaliser
    return costs.sum(dim=1) / by
