"""RetinaNet's head (Lin et al., arXiv 1708.02002): torchvision's towers, fed with a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models.detection.retinanet import (
    RetinaNetClassificationHead,
    RetinaNetRegressionHead,
)

from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..anchors import Anchors, Grid, best_iou, canvas_anchors
from ..assign import IGNORED, assigned, iou_match, places_each
from ..candidates import found_in_images
from ..checks import Auto, check_anchors, check_range
from ..detector import Head
from ..embedding import place_classifier
from ..family import HeadSettings
from ..long_tail import federated_classes, label_weights
from ..losses import focal_loss, per_image
from ..norms import norm_layer
from ..types import Detections, Fit, Targets
from .towers import resized_tower, tower_outputs

SCALES = (4.0, 4.0 * 2 ** (1 / 3), 4.0 * 2 ** (2 / 3))


@dataclass(frozen=True, slots=True)
class RetinaNetSettings(HeadSettings):
    """anchor_scales: sides of the anchors of every level, in strides; "auto": the paper's, and for a run
    more where its training boxes need them. anchor_grid: how far anchors lie apart. convs: in each of the
    two towers; norm: between them.

    iou_foreground, iou_background: anchors between them train no class.
    """

    name: Literal["retinanet"] = "retinanet"
    anchor_scales: tuple[float, ...] | Auto = "auto"
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    anchor_grid: Grid = "stride"
    convs: int = 2
    norm: Literal["none", "gn", "gn32"] = "gn"
    iou_foreground: float = 0.5
    iou_background: float = 0.4

    def __post_init__(self) -> None:
        HeadSettings.__post_init__(self)
        check_anchors(self.anchor_scales, self.ratios)
        check_range("head.convs", self.convs, 1, 64)
        check_range("head.iou_foreground", self.iou_foreground, 0, 1)
        check_range("head.iou_background", self.iou_background, 0, self.iou_foreground)

    def scales(self, spec: PyramidSpec) -> tuple[float, ...]:
        """Of the anchors on the levels of `spec`."""
        return SCALES if self.anchor_scales == "auto" else self.anchor_scales


class RetinaNet(Head):
    """Focal-loss classification and L1 box regression on anchors of every level."""

    def __init__(self, spec: PyramidSpec, classes: int, settings: RetinaNetSettings) -> None:
        super().__init__()
        self.settings = settings
        self.anchors = Anchors(spec, settings.scales(spec), settings.ratios, settings.anchor_grid)
        self.per_place = self.anchors.num_anchors_per_location()[0]
        channels, norm = spec.channels[0], norm_layer(settings.norm)
        self.classification_head = RetinaNetClassificationHead(
            channels, self.per_place, classes, norm_layer=norm
        )
        self.regression_head = RetinaNetRegressionHead(channels, self.per_place, norm_layer=norm)
        # torchvision's towers have four convolutions each.
        for tower in (self.classification_head, self.regression_head):
            tower.conv = resized_tower(tower.conv, settings.convs)
        self.coder = self.regression_head.box_coder

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The two towers."""
        return self.classification_head, self.regression_head

    @property
    def classifiers(self) -> tuple[nn.Module, ...]:
        """The last convolution of the classification tower."""
        return (self.classification_head.cls_logits,)

    def use_embeddings(self, vectors: Tensor) -> None:
        """In place of the last convolution of the classification tower."""
        tower = self.classification_head
        tower.cls_logits = place_classifier(tower.cls_logits, self.per_place, vectors)
        tower.num_classes = len(vectors)

    @property
    def anchor_generator(self) -> Anchors:
        """Of all levels."""
        return self.anchors

    def fit(self, boxes: Tensor, canvas_hw: tuple[int, int]) -> Fit:
        """Reached by an anchor with the IoU of foreground."""
        settings, anchors = self.settings, self.anchors.of_canvas(canvas_hw, boxes.device)
        match = iou_match(boxes, anchors, settings.iou_foreground, settings.iou_background)
        reached = best_iou(self.anchors, boxes, canvas_hw) >= settings.iou_foreground
        return Fit(places_each(match, len(boxes)), reached)

    def losses(
        self,
        pyramid: FeaturePyramid,
        placements: Sequence[Placement],
        targets: Sequence[Targets],
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        """Of "classification" and "box", (B,) each; every image's is divided by the number of its own
        foreground anchors. Nothing is drawn but the classes of a federated loss.
        """
        logits, deltas = self._outputs(pyramid)
        anchors = canvas_anchors(self.anchors, pyramid)
        limits = self.settings.iou_foreground, self.settings.iou_background
        matches = [iou_match(t.boxes, anchors, *limits) for t in targets]
        learnt = assigned(targets, matches, anchors)
        foreground = learnt.foreground
        counts = foreground.sum(dim=1)
        counted = federated_classes(targets, seeds, self.settings.federated)
        classes = focal_loss(logits, learnt.place_labels, counted)
        classes = classes * label_weights(targets, learnt.place_labels, self.settings.class_balance)
        boxes = (deltas - _offsets(learnt.spread(_encoded(learnt.boxes)), anchors)).abs().sum(dim=2)
        by = self.settings.normaliser
        return {
            "classification": per_image(classes * (learnt.rows != IGNORED), counts, by),
            "box": per_image(boxes * foreground, counts, by),
        }

    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """Per level the 1000 best above the threshold, then class-wise NMS."""
        logits, deltas = self._outputs(pyramid)
        anchors = canvas_anchors(self.anchors, pyramid)
        counts = [self.per_place * x.shape[-2] * x.shape[-1] for x in pyramid.maps]

        def boxes_of(image: Tensor, place: Tensor) -> Tensor:
            boxes: Tensor = self.coder.decode_single(deltas[image, place], anchors[place])
            return boxes

        return found_in_images(logits.sigmoid(), counts, boxes_of, placements, self.settings)

    def _outputs(self, pyramid: FeaturePyramid) -> tuple[Tensor, Tensor]:
        """Logits (B, A, K) and box deltas (B, A, 4) of all levels in float32."""
        outputs = [tower_outputs(part, pyramid.maps, self.recomputes) for part in self.parts]
        (logits,), (deltas,) = outputs
        return logits, deltas


def _encoded(boxes: Tensor) -> Tensor:
    """(N, 4) xyxy -> centres in px and logarithms of width and height."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    return torch.cat([boxes[:, :2] + sizes / 2, sizes.log()], dim=1)


def _offsets(encoded: Tensor, anchors: Tensor) -> Tensor:
    """What torchvision's coder gives of boxes (B, A, 4), `_encoded`, and their anchors (A, 4), but
    without a logarithm an anchor.
    """
    sizes = anchors[:, 2:] - anchors[:, :2]
    return (encoded - _encoded(anchors)) / torch.cat([sizes, torch.ones_like(sizes)], dim=1)
