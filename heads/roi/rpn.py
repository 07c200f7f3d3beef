"""The region proposal network (Ren et al., arXiv 1506.01497): torchvision's, fed with a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)
from torchvision.ops import Conv2dNormActivation

from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..anchors import Anchors, image_anchors
from ..assign import within_ignored
from ..norms import norm_layer
from ..recompute import recomputed
from ..sampling import balanced
from ..types import Targets
from .settings import RoISettings


@dataclass(frozen=True, slots=True)
class Proposals:
    """The RPN's output for a batch.

    anchors: the A boxes of each image. logits: (B, A), float32. deltas: (B, A, 4), float32. boxes: the
    proposals of each image, (N, 4) canvas px, which pass no gradient.
    """

    anchors: list[Tensor]
    logits: Tensor
    deltas: Tensor
    boxes: list[Tensor]


def _head(channels: int, anchors: int, settings: RoISettings) -> RPNHead:
    """Build torchvision's RPN head, with normalised convolutions where a norm is set."""
    head = RPNHead(channels, anchors, settings.rpn_convs)
    norm = norm_layer(settings.rpn_norm)
    if norm is not None:
        blocks = (Conv2dNormActivation(channels, channels, norm_layer=norm) for _ in head.conv)
        head.conv = nn.Sequential(*blocks)
        for conv in (block[0] for block in head.conv):
            nn.init.normal_(conv.weight, std=0.01)
    return head


class RPN(RegionProposalNetwork):  # type: ignore[misc]
    """torchvision's RPN, which samples the anchors of each image independently of the other images."""

    def __init__(self, spec: PyramidSpec, settings: RoISettings) -> None:
        anchors = Anchors(spec, settings.scales(spec), settings.ratios, settings.anchor_grid)
        train, test = settings.rpn_top_train, settings.rpn_top_test
        super().__init__(
            anchors,
            _head(spec.channels[0], anchors.num_anchors_per_location()[0], settings),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=settings.rpn_sampled,
            positive_fraction=0.5,
            pre_nms_top_n={"training": train[0], "testing": test[0]},
            post_nms_top_n={"training": train[1], "testing": test[1]},
            nms_thresh=settings.rpn_nms_iou,
        )
        self.sampled = settings.rpn_sampled

    def propose(
        self,
        pyramid: FeaturePyramid,
        placements: Sequence[Placement],
        *,
        training: bool,
        recompute: bool,
    ) -> Proposals:
        """Return the best proposals of each level after NMS, within the canvas's part with the image."""
        # torchvision reads the module's own flag to decide how many proposals to keep.
        self.training = training
        anchors = image_anchors(self.anchor_generator, pyramid)
        by_level = self._outputs(list(pyramid.maps), recompute)
        counts = [logits[0].numel() for logits in by_level[0]]
        objectness, deltas = (x.float() for x in concat_box_prediction_layers(*by_level))
        boxes, _ = self.filter_proposals(
            self.box_coder.decode(deltas.detach(), anchors).view(len(pyramid), -1, 4),
            objectness,
            [placement.content_hw for placement in placements],
            counts,
        )
        logits, deltas = objectness.view(len(pyramid), -1), deltas.view(len(pyramid), -1, 4)
        return Proposals(anchors, logits, deltas, boxes)

    def _outputs(self, maps: list[Tensor], recompute: bool) -> tuple[list[Tensor], list[Tensor]]:
        """Return the objectness logits and box deltas of every level."""
        if not recompute:
            return cast(tuple[list[Tensor], list[Tensor]], self.head(maps))
        levels = [recomputed(self.head, [x]) for x in maps]
        return [logits for (logits,), _ in levels], [deltas for _, (deltas,) in levels]

    def losses(
        self, proposals: Proposals, targets: Sequence[Targets], generators: Sequence[Random]
    ) -> dict[str, Tensor]:
        """Return the losses "objectness" (is there an object at an anchor?) and "proposal_box" (where?).

        Each is (B,), divided by the number of the image's own sampled anchors.
        """
        first = proposals
        matched = self.assign_targets_to_anchors(
            first.anchors, [{"boxes": t.boxes} for t in targets]
        )
        labelled = [_ignoring(*of) for of in zip(first.anchors, matched[0], targets, strict=True)]
        of_images = (labelled, matched[1], generators)
        images = zip(first.anchors, first.logits, first.deltas, *of_images, strict=True)
        losses: dict[str, list[Tensor]] = {"objectness": [], "proposal_box": []}
        for anchors, logits, deltas, labels, boxes, generator in images:
            positive, negative = balanced(labels, self.sampled, 0.5, generator)
            sampled = torch.cat([positive, negative])
            count = max(1, len(sampled))
            offsets = self.box_coder.encode_single(boxes[positive], anchors[positive])
            objectness = functional.binary_cross_entropy_with_logits(
                logits[sampled], labels[sampled], reduction="sum"
            )
            box = functional.smooth_l1_loss(deltas[positive], offsets, beta=1 / 9, reduction="sum")
            losses["objectness"].append(objectness / count)
            losses["proposal_box"].append(box / count)
        return {name: torch.stack(of_images) for name, of_images in losses.items()}


def _ignoring(anchors: Tensor, labels: Tensor, targets: Targets) -> Tensor:
    """Return the labels (A,) of one image: 1 for an object, 0 for background, -1 for neither."""
    within = within_ignored(anchors, targets)
    return labels if within is None else labels.masked_fill(within & (labels == 0), -1)
