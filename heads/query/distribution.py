"""D-FINE's distributions over the corrections of a box's sides (Peng et al., arXiv 2410.13842).

A side is moved from where the first layer has put it by the mean of a distribution over n + 1 corrections W,
which lie close together near zero. Each layer adds to the logits of the one before.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..attention import Perceptron
from ..convolutions import initialise_output
from .boxes import corners_of
from .settings import QuerySettings

# How far a target stays below the last correction, in steps, and the temperature of the distillation.
LAST_STEP = 0.1
TEMPERATURE = 5.0
# The number of the largest probabilities of each side that tell the quality of a box, and the width of the
# layers that read them.
LARGEST, QUALITY_CHANNELS = 4, 64


def corrections(bins: int, up: float, scale: float) -> Tensor:
    """Return W, (bins + 1,): the corrections, symmetric about zero and growing outwards (equation 3)."""
    bound = up * scale
    step = (bound + 1) ** (2 / (bins - 2))
    right = [step**k - 1 for k in range(1, bins // 2)]
    return torch.tensor([-2 * bound, *(-x for x in reversed(right)), 0.0, *right, 2 * bound])


def moved_boxes(first: Tensor, logits: Tensor, steps: Tensor, scale: float) -> Tensor:
    """Return boxes (..., 4), centres and sizes, whose sides are moved from the first ones (..., 4).

    logits: (..., 4, n + 1), of the distributions for the left, top, right and bottom sides. steps: (n + 1,),
    the corrections.
    """
    distance = (logits.softmax(dim=-1) * steps).sum(dim=-1)
    centre, size = first.chunk(2, dim=-1)
    low, high = ((scale / 2 + x) * size / scale for x in distance.chunk(2, dim=-1))
    low, high = centre - low, centre + high
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def localisation_loss(
    logits: Tensor, first: Tensor, wanted: Tensor, steps: Tensor, scale: float
) -> Tensor:
    """Return (...,): the fine-grained localisation loss of each box, summed over its sides.

    It is the cross entropy of the two corrections between which the true one lies, each weighted by how near
    it is. logits: (..., 4, n + 1). first, wanted: (..., 4), centres and sizes.
    """
    index, right = _between(_true_corrections(first, wanted, scale), steps)
    entropy = -logits.log_softmax(dim=-1)
    near, far = (entropy.gather(-1, k[..., None])[..., 0] for k in (index, index + 1))
    return (near * (1 - right) + far * right).sum(dim=-1)


def _true_corrections(first: Tensor, wanted: Tensor, scale: float) -> Tensor:
    """Return (..., 4): by how much each side must be moved."""
    low, high = corners_of(wanted).chunk(2, dim=-1)
    centre, size = first.chunk(2, dim=-1)
    reach = torch.cat([centre - low, high - centre], dim=-1)
    return reach / (torch.cat([size, size], dim=-1) / scale + 1e-16) - scale / 2


def _between(values: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices of the steps (n + 1,) below the values, and the share of the step above, 0 to 1.

    Values beyond the first or last step have all of it.
    """
    last = len(steps) - 1
    below = torch.searchsorted(steps, values.contiguous(), right=True) - 1
    index = below.clamp(0, last - 1)
    left, right = values - steps[index], steps[index + 1] - values
    share = left.abs() / (left.abs() + right.abs())
    return index, share.where(below >= 0, 0.0).where(below < last, 1.0)


def distillation_loss(
    logits: Tensor, teacher: Tensor, weights: Tensor, matched: Tensor, counted: Tensor
) -> Tensor:
    """Return (B, S): the decoupled distillation loss of each stage from the teacher's distributions.

    The divergences of matched and of all other queries are averaged separately, and the two means weighted
    by the roots of their numbers. logits: (B, S, Q, 4, n + 1). teacher: (B, Q, 4, n + 1), without gradient.
    weights: (B, S, Q). matched, counted: (B, S, Q) bool, whether a query has an object, and takes part.
    """
    ours = (logits / TEMPERATURE).log_softmax(dim=-1)
    theirs = (teacher / TEMPERATURE).softmax(dim=-1)[:, None].expand_as(ours)
    each = functional.kl_div(ours, theirs, reduction="none").sum(dim=-1).mean(dim=-1)
    costs = each * weights * TEMPERATURE**2
    total, scale = costs.new_zeros(costs.shape[:2]), costs.new_zeros(costs.shape[:2])
    for part in (matched & counted, ~matched & counted):
        count = part.sum(dim=2)
        total = total + (costs * part).sum(dim=2) / count.clamp(min=1) * count.sqrt()
        scale = scale + count.sqrt()
    return total / scale.clamp(min=1)


class Quality(nn.Module):
    """D-FINE's addition to the scores of a box: how sure the distributions of its sides are."""

    def __init__(self, settings: QuerySettings) -> None:
        super().__init__()
        self.largest = min(LARGEST, settings.reg_max + 1)
        self.layers = Perceptron(4 * (self.largest + 1), QUALITY_CHANNELS, 1, 2)
        initialise_output(self.layers.layers[-1], 1e-3)

    def forward(self, logits: Tensor) -> Tensor:
        """Return (B, Q, 1) float32 for the logits of distributions (B, Q, 4, n + 1)."""
        largest = logits.softmax(dim=-1).topk(self.largest, dim=-1).values
        seen = torch.cat([largest, largest.mean(dim=-1, keepdim=True)], dim=-1)
        out: Tensor = self.layers(seen.flatten(2))
        return out.float()
