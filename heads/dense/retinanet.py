"""The head of RetinaNet (Lin et al., arXiv 1708.02002): torchvision's towers, fed with a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.retinanet import (
    RetinaNetClassificationHead,
    RetinaNetRegressionHead,
)

from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..anchors import Anchors, best_iou, canvas_anchors
from ..assign import assigned, iou_match, locations_per_object
from ..losses import focal_loss
from ..norms import norm_layer
from ..types import Fit, Targets
from .dense_head import BoxesOf, Costs, DenseHead
from .settings import RetinaNetSettings
from .towers import resized_tower


class RetinaNet(DenseHead):
    """Focal-loss classification and L1 box regression on anchors of every level."""

    settings: RetinaNetSettings

    def __init__(self, spec: PyramidSpec, classes: int, settings: RetinaNetSettings) -> None:
        super().__init__()
        self.settings = settings
        self.anchors = Anchors(spec, settings.scales(spec), settings.ratios, settings.anchor_grid)
        self.per_cell = self.anchors.num_anchors_per_location()[0]
        channels, norm = spec.channels[0], norm_layer(settings.norm)
        self.classification_head = RetinaNetClassificationHead(
            channels, self.per_cell, classes, norm_layer=norm
        )
        self.regression_head = RetinaNetRegressionHead(channels, self.per_cell, norm_layer=norm)
        # torchvision's towers have four convolutions each.
        for tower in (self.classification_head, self.regression_head):
            tower.conv = resized_tower(tower.conv, settings.convs)
        self.coder = self.regression_head.box_coder

    @property
    def anchor_generator(self) -> Anchors:
        """The anchors of all levels."""
        return self.anchors

    def fit(self, boxes: Tensor, canvas_hw: tuple[int, int]) -> Fit:
        """Return the fit: an object is reached if its IoU with an anchor makes that one foreground."""
        settings, anchors = self.settings, self.anchors.of_canvas(canvas_hw, boxes.device)
        match = iou_match(boxes, anchors, settings.iou_foreground, settings.iou_background)
        reached = best_iou(self.anchors, boxes, canvas_hw) >= settings.iou_foreground
        return Fit(locations_per_object(match, len(boxes)), reached)

    def costs(
        self,
        outputs: Sequence[Tensor],
        pyramid: FeaturePyramid,
        targets: Sequence[Targets],
        counted: Tensor | None,
    ) -> Costs:
        """Return the costs of logits (B, A, K) and box deltas (B, A, 4).

        The count of each image is that of its foreground anchors.
        """
        logits, deltas = outputs
        anchors = canvas_anchors(self.anchors, pyramid)
        limits = self.settings.iou_foreground, self.settings.iou_background
        learnt = assigned(targets, [iou_match(t.boxes, anchors, *limits) for t in targets], anchors)
        foreground = learnt.foreground
        classes = focal_loss(logits, learnt.location_labels, counted)
        boxes = (deltas - _offsets(learnt.spread(_encoded(learnt.boxes)), anchors)).abs().sum(dim=2)
        return Costs(learnt, foreground.sum(dim=1), classes, {"box": boxes * foreground})

    def scores(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return the sigmoid of the logits."""
        return outputs[0].sigmoid()

    def boxes(self, outputs: Sequence[Tensor], pyramid: FeaturePyramid) -> BoxesOf:
        """Return the function that decodes deltas relative to anchors."""
        anchors = canvas_anchors(self.anchors, pyramid)

        def boxes_of(image: Tensor, anchor: Tensor) -> Tensor:
            boxes: Tensor = self.coder.decode_single(outputs[1][image, anchor], anchors[anchor])
            return boxes

        return boxes_of


def _encoded(boxes: Tensor) -> Tensor:
    """Return boxes (N, 4) xyxy px as centres and logarithms of width and height."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    return torch.cat([boxes[:, :2] + sizes / 2, sizes.log()], dim=1)


def _offsets(encoded: Tensor, anchors: Tensor) -> Tensor:
    """Return the deltas of `_encoded` boxes (B, A, 4) relative to their anchors (A, 4).

    They are those of torchvision's coder, but take no logarithm for each anchor of each image.
    """
    sizes = anchors[:, 2:] - anchors[:, :2]
    return (encoded - _encoded(anchors)) / torch.cat([sizes, torch.ones_like(sizes)], dim=1)
