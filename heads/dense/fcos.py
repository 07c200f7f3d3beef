"""FCOS's head (Tian et al., arXiv 1904.01355; improved, arXiv 2006.09214): torchvision's towers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead

from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..assign import IGNORED, assigned, centre_match, places_each
from ..candidates import found_in_images
from ..checks import check_range
from ..detector import Head
from ..embedding import place_classifier
from ..family import HeadSettings
from ..long_tail import federated_classes, label_weights
from ..losses import focal_loss, giou_loss, per_image
from ..memo import Memo
from ..norms import norm_layer
from ..points import FIRST_DISTANCE, Places, PlacesOf, distance_boxes, per_place
from ..types import Detections, Fit, Targets
from .towers import tower_outputs


@dataclass(frozen=True, slots=True)
class FCOSSettings(HeadSettings):
    """radius: of centre sampling, in strides. convs: in each of the two towers; norm: between them,
    group normalisation where "gn".

    offset: where in its place a point lies, in strides: 0.5, in the centre, as in the paper; 0, in the
    corner, as in torchvision's model.
    """

    name: Literal["fcos"] = "fcos"
    nms_iou: float = 0.6
    radius: float = 1.5
    convs: int = 2
    norm: Literal["none", "gn", "gn32"] = "gn"
    offset: float = 0.5

    def __post_init__(self) -> None:
        HeadSettings.__post_init__(self)
        check_range("head.radius", self.radius, 0)
        check_range("head.convs", self.convs, 1, 64)
        check_range("head.offset", self.offset, 0, 1)


class FCOS(Head):
    """A class, a box and its centerness for each place. As torchvision's, it has the centerness on the
    regression tower, and box distances through a ReLU and in strides, where the first paper has exp and a
    factor a level.

    A level learns the objects that reach from its points up to 8 strides far, and more than 8 strides of
    the level before; on the limit itself both do, as the paper has it, and in torchvision none.
    """

    def __init__(self, spec: PyramidSpec, classes: int, settings: FCOSSettings) -> None:
        super().__init__()
        self.settings = settings
        channels, convs = spec.channels[0], settings.convs
        norm = norm_layer(settings.norm) or nn.Identity
        self.classification_head = FCOSClassificationHead(
            channels, 1, classes, num_convs=convs, norm_layer=norm
        )
        self.regression_head = FCOSRegressionHead(channels, 1, num_convs=convs, norm_layer=norm)
        # Behind a ReLU a bias of 0 would leave every second distance without a gradient.
        nn.init.constant_(self.regression_head.bbox_reg.bias, FIRST_DISTANCE)
        self.places = PlacesOf(spec, settings.offset)
        self.reaches = Memo(partial(_reaches, spec.strides))

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
        tower.cls_logits = place_classifier(tower.cls_logits, 1, vectors)
        tower.num_classes = len(vectors)

    def fit(self, boxes: Tensor, canvas_hw: tuple[int, int]) -> Fit:
        """Reached by a point near enough to its centre, whose level is for its size."""
        places = self.places.of_canvas(canvas_hw, boxes.device)
        reaches = self.reaches(places.counts, boxes.device)
        each = places_each(
            centre_match(boxes, places.points, places.strides, reaches, self.settings.radius),
            len(boxes),
        )
        return Fit(each, each > 0)

    def losses(
        self,
        pyramid: FeaturePyramid,
        placements: Sequence[Placement],
        targets: Sequence[Targets],
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        """Of "classification", "box" and "centerness", (B,) each; every image's is divided by the number
        of its own foreground places, where torchvision takes the batch's. Nothing is drawn but the classes
        of a federated loss.
        """
        logits, distances, centerness = self._outputs(pyramid)
        places = self.places(pyramid)
        reaches = self.reaches(places.counts, logits.device)
        common = places.points, places.strides, reaches, self.settings.radius
        matches = [centre_match(t.boxes, *common) for t in targets]
        learnt = assigned(targets, matches, places.points)
        foreground = learnt.foreground
        counts = foreground.sum(dim=1)
        wanted = learnt.spread(learnt.boxes)
        off_centre = functional.binary_cross_entropy_with_logits(
            centerness, _centerness(places, wanted, foreground), reduction="none"
        )
        boxes = giou_loss(places.boxes(distances), wanted)
        counted = federated_classes(targets, seeds, self.settings.federated)
        classes = focal_loss(logits, learnt.place_labels, counted)
        classes = classes * label_weights(targets, learnt.place_labels, self.settings.class_balance)
        by = self.settings.normaliser
        return {
            "classification": per_image(classes * (learnt.rows != IGNORED), counts, by),
            "box": per_image(boxes * foreground, counts, by),
            "centerness": per_image(off_centre * foreground, counts, by),
        }

    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """Scored with the geometric mean of class and centerness: per level the 1000 best above the
        threshold, then class-wise NMS.
        """
        logits, distances, centerness = self._outputs(pyramid)
        places = self.places(pyramid)
        scores = (logits.sigmoid() * centerness.sigmoid()[..., None]).sqrt()

        def boxes_of(image: Tensor, place: Tensor) -> Tensor:
            reach = distances[image, place]
            return distance_boxes(places.points[place], places.strides[place], reach)

        return found_in_images(scores, places.counts, boxes_of, placements, self.settings)

    def _outputs(self, pyramid: FeaturePyramid) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, A, K), distances (B, A, 4) in strides, and centerness logits (B, A), float32."""
        outputs = [tower_outputs(part, pyramid.maps, self.recomputes) for part in self.parts]
        (logits,), (distances, centerness) = outputs
        return logits, distances, centerness[..., 0]


def _reaches(strides: Sequence[int], counts: Sequence[int], device: torch.device) -> Tensor:
    """(A, 2): the least and the greatest distance, in px, to a side of what each place learns."""
    limits = [8.0 * stride for stride in strides[:-1]]
    ends = per_place([0.0, *limits], counts), per_place([*limits, math.inf], counts)
    return torch.stack(ends, dim=1).to(device)


def _centerness(places: Places, wanted: Tensor, foreground: Tensor) -> Tensor:
    """(B, A): 1 in the centre of its box (B, A, 4), 0 on its edge, and 1 where there is no box."""
    distances = places.distances(wanted).masked_fill(~foreground[..., None], 1.0)
    first, last = torch.chunk(distances, 2, dim=2)
    balance = first.minimum(last) / first.maximum(last)
    return (balance[..., 0] * balance[..., 1]).sqrt()
