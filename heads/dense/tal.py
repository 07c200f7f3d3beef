"""A head with one score for class and box.

It has task-aligned assignment (TOOD, arXiv 2108.07755), and quality focal loss and distributions of box
distances (GFL, arXiv 2006.04388).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..assign import Alignment, assigned
from ..losses import distribution_focal_loss, giou_loss, quality_focal_loss
from ..points import FIRST_DISTANCE, LocationsOf
from ..types import Fit, Targets
from .dense_head import BoxesOf, Costs, DenseHead
from .settings import TALSettings
from .towers import Tower

# The usual sum of the qualities of an object's points, from the middle of a training on.
QUALITY = 4.0
PRIOR = 0.01


class TAL(DenseHead):
    """A class score that says how good the box is, and a box, for each point.

    Assignment follows the head's own scores and boxes from the first step on. In place of TOOD's
    warm-up with ATSS, boxes begin with a side of 8 strides, so that an object is first learnt on the
    level of its size. The towers are plain ones, not TOOD's task-aligned head. A distance is the mean of a
    distribution over 0 to `reg_max` strides or, where that is 0, one number through softplus.
    """

    settings: TALSettings
    classifier = "output"

    def __init__(self, spec: PyramidSpec, classes: int, settings: TALSettings) -> None:
        super().__init__()
        self.settings = settings
        channels, convs, norm = spec.channels[0], settings.convs, settings.norm
        prior = -math.log((1 - PRIOR) / PRIOR)
        self.classification_head = Tower(channels, classes, convs, norm, prior)
        first = _first_outputs(settings.reg_max)
        self.regression_head = Tower(channels, 4 * len(first), convs, norm, first.repeat(4))
        self.reach = settings.reg_max * spec.strides[-1] if settings.reg_max else math.inf
        self.locations = LocationsOf(spec)
        self.min_side = float(spec.strides[0])
        self.alignment = Alignment(settings.alpha, settings.beta, settings.top_k)

    def outputs(self, pyramid: FeaturePyramid) -> tuple[Tensor, ...]:
        """Return logits (B, A, K), distances (B, A, 4) in strides and their raw outputs, float32.

        The raw outputs are (B, A, 4, reg_max + 1), the logits of the distributions.
        """
        logits, flat = super().outputs(pyramid)
        raw = flat.reshape(*flat.shape[:2], 4, -1)
        if self.settings.reg_max == 0:
            return logits, functional.softplus(raw[..., 0]), raw
        # A matrix product would be one of bf16 where autocast is on.
        bins = torch.arange(self.settings.reg_max + 1.0, device=raw.device)
        return logits, (raw.softmax(dim=3) * bins).sum(dim=3), raw

    def fit(self, boxes: Tensor, canvas_hw: tuple[int, int]) -> Fit:
        """Return the fit: the points that detect an object best learn it, if its sides are in their reach."""
        reached = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1) <= 2 * self.reach
        return Fit(boxes.new_full((len(boxes),), QUALITY), reached)

    def costs(
        self,
        outputs: Sequence[Tensor],
        pyramid: FeaturePyramid,
        targets: Sequence[Targets],
        counted: Tensor | None,
    ) -> Costs:
        """Return the costs of the outputs; the count of an image is the sum of its qualities."""
        logits, distances, raw = outputs
        locations = self.locations(pyramid)
        boxes = locations.boxes(distances)
        matched = [
            self.alignment.match(*of_image, locations.points, self.min_side)
            for of_image in zip(targets, logits.detach(), boxes.detach(), strict=True)
        ]
        learnt = assigned(targets, [match for match, _ in matched], locations.points)
        quality = torch.stack([of_image for _, of_image in matched])
        classes = quality_focal_loss(logits, learnt.location_labels, quality, counted)
        wanted = learnt.spread(learnt.boxes)
        others = {"box": self.settings.box_weight * giou_loss(boxes, wanted) * quality}
        if self.settings.reg_max:
            nearness = distribution_focal_loss(raw, locations.distances(wanted)).mean(dim=2)
            others["distances"] = self.settings.dfl_weight * nearness * quality
        return Costs(learnt, quality.sum(dim=1), classes, others)

    def scores(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return the sigmoid of the logits."""
        return outputs[0].sigmoid()

    def boxes(self, outputs: Sequence[Tensor], pyramid: FeaturePyramid) -> BoxesOf:
        """Return the function that decodes distances from points."""
        return partial(self.locations(pyramid).boxes_of, outputs[1])


def _first_outputs(reg_max: int) -> Tensor:
    """Return what a fresh head's raw outputs are for each distance: its mean is about FIRST_DISTANCE."""
    if reg_max == 0:
        return torch.tensor([math.log(math.expm1(FIRST_DISTANCE))])
    return -(torch.arange(reg_max + 1.0) - FIRST_DISTANCE).abs() / 2
