"""One score for class and box: task-aligned assignment (TOOD, arXiv 2108.07755) and quality focal loss
(arXiv 2006.04388).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..assign import IGNORED, Alignment, assigned
from ..candidates import found_in_images
from ..checks import check_range
from ..detector import Head
from ..embedding import place_classifier
from ..family import HeadSettings
from ..long_tail import federated_classes, label_weights
from ..losses import giou_loss, per_image, quality_focal_loss
from ..points import FIRST_DISTANCE, PlacesOf, distance_boxes
from ..types import Detections, Fit, Targets
from .towers import Tower, tower_outputs

# Of an object's places, the sum of what they are to show, from the middle of a training on.
QUALITY = 4.0
PRIOR = 0.01


@dataclass(frozen=True, slots=True)
class TALSettings(HeadSettings):
    """alpha, beta: how much score and IoU weigh in the choice of the `top_k` places of an object.
    box_weight: of the box loss. convs: in each of the two towers; norm: between them, group
    normalisation where "gn".
    """

    name: Literal["tal"] = "tal"
    nms_iou: float = 0.6
    convs: int = 2
    norm: Literal["none", "gn", "gn32"] = "gn"
    alpha: float = 1.0
    beta: float = 6.0
    top_k: int = 13
    box_weight: float = 2.0

    def __post_init__(self) -> None:
        HeadSettings.__post_init__(self)
        check_range("head.convs", self.convs, 1, 64)
        check_range("head.alpha", self.alpha, 0, 100)
        check_range("head.beta", self.beta, 0, 100)
        check_range("head.top_k", self.top_k, 1, 2**20)
        check_range("head.box_weight", self.box_weight, 0)


class TAL(Head):
    """A class score that says how good the box is, and a box, for each place.

    Assignment follows the head's own scores and boxes from the first step on. In place of TOOD's
    warm-up with ATSS, boxes begin with a side of 8 strides, so that an object is first learnt on the
    level of its size. The towers are plain ones, not TOOD's task-aligned head; box distances come
    through softplus, not from GFL's distributions.
    """

    def __init__(self, spec: PyramidSpec, classes: int, settings: TALSettings) -> None:
        super().__init__()
        self.settings = settings
        channels, convs, norm = spec.channels[0], settings.convs, settings.norm
        prior = -math.log((1 - PRIOR) / PRIOR)
        first = math.log(math.expm1(FIRST_DISTANCE))
        self.classification_head = Tower(channels, classes, convs, norm, prior)
        self.regression_head = Tower(channels, 4, convs, norm, first)
        self.places = PlacesOf(spec)
        self.least = float(spec.strides[0])
        self.alignment = Alignment(settings.alpha, settings.beta, settings.top_k)

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The two towers."""
        return self.classification_head, self.regression_head

    @property
    def classifiers(self) -> tuple[nn.Module, ...]:
        """The last convolution of the classification tower."""
        return (self.classification_head.output,)

    def use_embeddings(self, vectors: Tensor) -> None:
        """In place of the last convolution of the classification tower."""
        tower = self.classification_head
        tower.output = place_classifier(tower.output, 1, vectors)

    def fit(self, boxes: Tensor, canvas_hw: tuple[int, int]) -> Fit:
        """Every object is reached: it takes the places that find it best."""
        return Fit(boxes.new_full((len(boxes),), QUALITY), boxes.new_ones(len(boxes)).bool())

    def losses(
        self,
        pyramid: FeaturePyramid,
        placements: Sequence[Placement],
        targets: Sequence[Targets],
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        """Of "classification" and "box", (B,) each; every image's is divided by the sum of its own
        qualities. Nothing is drawn but the classes of a federated loss.
        """
        logits, distances = self._outputs(pyramid)
        places = self.places(pyramid)
        boxes = places.boxes(distances)
        matched = [
            self.alignment.match(*of_image, places.points, self.least)
            for of_image in zip(targets, logits.detach(), boxes.detach(), strict=True)
        ]
        learnt = assigned(targets, [match for match, _ in matched], places.points)
        quality = torch.stack([of_image for _, of_image in matched])
        counts = quality.sum(dim=1)
        counted = federated_classes(targets, seeds, self.settings.federated)
        classes = quality_focal_loss(logits, learnt.place_labels, quality, counted)
        classes = classes * label_weights(targets, learnt.place_labels, self.settings.class_balance)
        overlap = giou_loss(boxes, learnt.spread(learnt.boxes))
        by = self.settings.normaliser
        return {
            "classification": per_image(classes * (learnt.rows != IGNORED), counts, by),
            "box": self.settings.box_weight * per_image(overlap * quality, counts, by),
        }

    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """Per level the 1000 best above the threshold, then class-wise NMS."""
        logits, distances = self._outputs(pyramid)
        places = self.places(pyramid)

        def boxes_of(image: Tensor, place: Tensor) -> Tensor:
            reach = distances[image, place]
            return distance_boxes(places.points[place], places.strides[place], reach)

        return found_in_images(logits.sigmoid(), places.counts, boxes_of, placements, self.settings)

    def _outputs(self, pyramid: FeaturePyramid) -> tuple[Tensor, Tensor]:
        """Logits (B, A, K) and distances (B, A, 4) in strides, float32."""
        outputs = [tower_outputs(part, pyramid.maps, self.recomputes) for part in self.parts]
        (logits,), (raw,) = outputs
        return logits, functional.softplus(raw)
