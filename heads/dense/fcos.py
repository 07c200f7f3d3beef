"""The head of FCOS (Tian et al., arXiv 1904.01355; improved, arXiv 2006.09214), with torchvision's towers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead

from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..assign import assigned, centre_match, locations_per_object
from ..losses import focal_loss, giou_loss
from ..memo import Memo
from ..norms import norm_layer
from ..points import FIRST_DISTANCE, Locations, LocationsOf, per_location
from ..types import Fit, Targets
from .dense_head import BoxesOf, Costs, DenseHead
from .settings import FCOSSettings


class FCOS(DenseHead):
    """A class, a box and its centerness for each point.

    As in torchvision, the centerness is on the regression tower, and box distances pass through a ReLU and
    are in strides; the first paper has exp and a factor for each level instead.

    A level learns the objects whose farthest side is at most 8 of its strides, and more than 8 strides of the
    level before, away from its points; the coarsest level has no upper limit. Exactly at a limit both levels
    learn the object, as in the paper; in torchvision neither does.
    """

    settings: FCOSSettings

    def __init__(self, spec: PyramidSpec, classes: int, settings: FCOSSettings) -> None:
        super().__init__()
        self.settings = settings
        channels, convs = spec.channels[0], settings.convs
        norm = norm_layer(settings.norm) or nn.Identity
        self.classification_head = FCOSClassificationHead(
            channels, 1, classes, num_convs=convs, norm_layer=norm
        )
        self.regression_head = FCOSRegressionHead(channels, 1, num_convs=convs, norm_layer=norm)
        # With a bias of 0, the ReLU would leave every second distance without a gradient.
        nn.init.constant_(self.regression_head.bbox_reg.bias, FIRST_DISTANCE)
        self.locations = LocationsOf(spec, settings.offset)
        self.reaches = Memo(partial(_reaches, spec.strides))

    def fit(self, boxes: Tensor, canvas_hw: tuple[int, int]) -> Fit:
        """Return the fit: an object is reached by points near its centre, on a level for its size."""
        locations = self.locations.of_canvas(canvas_hw, boxes.device)
        each = locations_per_object(self._match(boxes, locations), len(boxes))
        return Fit(each, each > 0)

    def costs(
        self,
        outputs: Sequence[Tensor],
        pyramid: FeaturePyramid,
        targets: Sequence[Targets],
        counted: Tensor | None,
    ) -> Costs:
        """Return the costs of logits (B, A, K), distances (B, A, 4) in strides and centerness (B, A, 1).

        The count of each image is that of its own foreground points; torchvision counts those of the batch.
        """
        logits, distances, centerness = outputs
        locations = self.locations(pyramid)
        learnt = assigned(
            targets, [self._match(t.boxes, locations) for t in targets], locations.points
        )
        foreground = learnt.foreground
        wanted = learnt.spread(learnt.boxes)
        off_centre = functional.binary_cross_entropy_with_logits(
            centerness[..., 0], _centerness(locations, wanted, foreground), reduction="none"
        )
        boxes = giou_loss(locations.boxes(distances), wanted)
        classes = focal_loss(logits, learnt.location_labels, counted)
        others = {"box": boxes * foreground, "centerness": off_centre * foreground}
        return Costs(learnt, foreground.sum(dim=1), classes, others)

    def scores(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return the geometric mean of class score and centerness."""
        logits, _, centerness = outputs
        return (logits.sigmoid() * centerness.sigmoid()).sqrt()

    def boxes(self, outputs: Sequence[Tensor], pyramid: FeaturePyramid) -> BoxesOf:
        """Return the function that decodes distances from points."""
        return partial(self.locations(pyramid).boxes_of, outputs[1])

    def _match(self, boxes: Tensor, locations: Locations) -> Tensor:
        reaches = self.reaches(locations.counts, boxes.device)
        return centre_match(
            boxes, locations.points, locations.strides, reaches, self.settings.radius
        )


def _reaches(strides: Sequence[int], counts: Sequence[int], device: torch.device) -> Tensor:
    """Return (A, 2): the minimum and maximum distance, in px, of each point to an object's farthest side."""
    limits = [8.0 * stride for stride in strides[:-1]]
    ends = per_location([0.0, *limits], counts), per_location([*limits, math.inf], counts)
    return torch.stack(ends, dim=1).to(device)


def _centerness(locations: Locations, wanted: Tensor, foreground: Tensor) -> Tensor:
    """Return the centerness (B, A) of points in their boxes (B, A, 4).

    It is 1 in the centre of the box, 0 on its edge, and 1 where there is no box.
    """
    distances = locations.distances(wanted).masked_fill(~foreground[..., None], 1.0)
    first, last = torch.chunk(distances, 2, dim=2)
    balance = first.minimum(last) / first.maximum(last)
    return (balance[..., 0] * balance[..., 1]).sqrt()
