"""The head of RetinaNet (Lin et al., arXiv 1708.02002): torchvision's towers, fed with a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from torchvision.models.detection.retinanet import (
    RetinaNetClassificationHead,
    RetinaNetRegressionHead,
)

from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..anchors import GRID_HELP, Anchors, Grid, best_iou, canvas_anchors
from ..assign import assigned, iou_match, locations_per_object
from ..checks import Auto, check_anchors, check_range
from ..family import CONVS_HELP, HeadSettings
from ..losses import focal_loss
from ..norms import HeadNorm, norm_layer
from ..ranges import between
from ..types import Fit, Targets
from .dense_head import BoxesOf, Costs, DenseHead
from .towers import resized_tower

SCALES = (4.0, 4.0 * 2 ** (1 / 3), 4.0 * 2 ** (2 / 3))


@dataclass(frozen=True, slots=True)
class RetinaNetSettings(HeadSettings):
    """The settings of RetinaNet. Anchors whose IoU lies between the two bounds train no class."""

    name: Literal["retinanet"] = "retinanet"
    anchor_scales: Annotated[
        tuple[float, ...] | Auto,
        "sides of the anchors of every level, in strides; auto: the paper's, and more where the training "
        "boxes need them",
    ] = "auto"
    ratios: Annotated[tuple[float, ...], "ratios of the anchors' height to width"] = (
        0.5,
        1.0,
        2.0,
    )
    anchor_grid: Annotated[Grid, GRID_HELP] = "stride"
    convs: Annotated[int, between(1, 64), CONVS_HELP] = 2
    norm: Annotated[HeadNorm, "norm after each convolution of the towers"] = "gn"
    iou_foreground: Annotated[
        float, between(0, 1), "minimum IoU of an anchor with the object that it learns"
    ] = 0.5
    iou_background: Annotated[
        float, between(0, 1), "IoU below which an anchor learns that there is no object"
    ] = 0.4

    def __post_init__(self) -> None:
        HeadSettings.__post_init__(self)
        check_anchors(self.anchor_scales, self.ratios)
        check_range("head.iou_background", self.iou_background, 0, self.iou_foreground)

    def scales(self, spec: PyramidSpec) -> tuple[float, ...]:
        """Return the scales of the anchors on the levels of `spec`."""
        return SCALES if self.anchor_scales == "auto" else self.anchor_scales


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
