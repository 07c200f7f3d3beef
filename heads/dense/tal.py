"""A head with one score for class and box.

It has task-aligned assignment (TOOD, arXiv 2108.07755) and quality focal loss (arXiv 2006.04388).
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
from ..losses import giou_loss, quality_focal_loss
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
    level of its size. The towers are plain ones, not TOOD's task-aligned head; box distances come
    through softplus, not from GFL's distributions.
    """

    settings: TALSettings
    classifier = "output"

    def __init__(self, spec: PyramidSpec, classes: int, settings: TALSettings) -> None:
        super().__init__()
        self.settings = settings
        channels, convs, norm = spec.channels[0], settings.convs, settings.norm
        prior = -math.log((1 - PRIOR) / PRIOR)
        first = math.log(math.expm1(FIRST_DISTANCE))
        self.classification_head = Tower(channels, classes, convs, norm, prior)
        self.regression_head = Tower(channels, 4, convs, norm, first)
        self.locations = LocationsOf(spec)
        self.min_side = float(spec.strides[0])
        self.alignment = Alignment(settings.alpha, settings.beta, settings.top_k)

    def outputs(self, pyramid: FeaturePyramid) -> tuple[Tensor, ...]:
        """Return logits (B, A, K) and distances (B, A, 4) in strides, float32."""
        logits, raw = super().outputs(pyramid)
        return logits, functional.softplus(raw)

    def fit(self, boxes: Tensor, canvas_hw: tuple[int, int]) -> Fit:
        """Return the fit: every object is reached, as the points that detect it best learn it."""
        return Fit(boxes.new_full((len(boxes),), QUALITY), boxes.new_ones(len(boxes)).bool())

    def costs(
        self,
        outputs: Sequence[Tensor],
        pyramid: FeaturePyramid,
        targets: Sequence[Targets],
        counted: Tensor | None,
    ) -> Costs:
        """Return the costs of logits and distances; the count of an image is the sum of its qualities."""
        logits, distances = outputs
        locations = self.locations(pyramid)
        boxes = locations.boxes(distances)
        matched = [
            self.alignment.match(*of_image, locations.points, self.min_side)
            for of_image in zip(targets, logits.detach(), boxes.detach(), strict=True)
        ]
        learnt = assigned(targets, [match for match, _ in matched], locations.points)
        quality = torch.stack([of_image for _, of_image in matched])
        classes = quality_focal_loss(logits, learnt.location_labels, quality, counted)
        overlap = giou_loss(boxes, learnt.spread(learnt.boxes))
        others = {"box": self.settings.box_weight * overlap * quality}
        return Costs(learnt, quality.sum(dim=1), classes, others)

    def scores(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return the sigmoid of the logits."""
        return outputs[0].sigmoid()

    def boxes(self, outputs: Sequence[Tensor], pyramid: FeaturePyramid) -> BoxesOf:
        """Return the function that decodes distances from points."""
        return partial(self.locations(pyramid).boxes_of, outputs[1])
