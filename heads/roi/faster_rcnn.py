"""Faster R-CNN's heads (Ren et al., arXiv 1506.01497): torchvision's RPN and RoI heads on a pyramid."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..anchors import anchor_generator, as_image_list
from ..checks import check_anchors, check_range
from ..detector import Head
from ..types import Detections, Targets


@dataclass(frozen=True, slots=True)
class FasterRCNNSettings:
    """anchor_scales: sides of the anchors in strides. rpn_top_train, rpn_top_test: proposals kept
    a level before and an image after NMS. sampled, positive: RoIs an image and the share of objects.
    fc_channels: of the box head's two layers.
    """

    name: Literal["faster-rcnn"] = "faster-rcnn"
    anchor_scales: tuple[float, ...] = (8.0,)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    rpn_top_train: tuple[int, int] = (2000, 1000)
    rpn_top_test: tuple[int, int] = (1000, 1000)
    rpn_nms_iou: float = 0.7
    rpn_sampled: int = 256
    pool_size: int = 7
    sampled: int = 512
    positive: float = 0.25
    iou_foreground: float = 0.5
    fc_channels: int = 1024
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    max_detections: int = 100

    def __post_init__(self) -> None:
        check_anchors(self.anchor_scales, self.ratios)
        for name in ("rpn_sampled", "pool_size", "sampled", "fc_channels", "max_detections"):
            check_range(f"head.{name}", getattr(self, name), 1, 2**20)
        check_range("head.pool_size", self.pool_size, 1, 64)
        for name in ("positive", "iou_foreground", "score_threshold", "nms_iou", "rpn_nms_iou"):
            check_range(f"head.{name}", getattr(self, name), 0, 1)
        for name in ("rpn_top_train", "rpn_top_test"):
            check_range(f"head.{name}", min(getattr(self, name)), 1)


class FasterRCNN(Head):
    """Proposals from every level; boxes pooled from all but those that exist for the RPN alone."""

    def __init__(self, spec: PyramidSpec, classes: int, settings: FasterRCNNSettings) -> None:
        super().__init__()
        anchors = anchor_generator(spec, settings.anchor_scales, settings.ratios)
        channels = spec.channels[0]
        self.rpn = RegionProposalNetwork(
            anchors,
            RPNHead(channels, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=settings.rpn_sampled,
            positive_fraction=0.5,
            pre_nms_top_n={
                "training": settings.rpn_top_train[0],
                "testing": settings.rpn_top_test[0],
            },
            post_nms_top_n={
                "training": settings.rpn_top_train[1],
                "testing": settings.rpn_top_test[1],
            },
            nms_thresh=settings.rpn_nms_iou,
        )
        pooled = spec.levels[: max(1, min(4, len(spec.levels) - 1))]
        self.roi = RoIHeads(
            box_roi_pool=_pooler([v.name for v in pooled], [v.stride for v in pooled], settings),
            box_head=TwoMLPHead(channels * settings.pool_size**2, settings.fc_channels),
            box_predictor=FastRCNNPredictor(settings.fc_channels, classes + 1),
            fg_iou_thresh=settings.iou_foreground,
            bg_iou_thresh=settings.iou_foreground,
            batch_size_per_image=settings.sampled,
            positive_fraction=settings.positive,
            bbox_reg_weights=None,
            score_thresh=settings.score_threshold,
            nms_thresh=settings.nms_iou,
            detections_per_img=settings.max_detections,
        )

    def losses(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement], targets: Sequence[Targets]
    ) -> dict[str, Tensor]:
        """Of "objectness", "proposal_box", "classification" and "box".

        Anchors and RoIs are sampled by torch's global generator.
        """
        # Label 0 is the background in here, and only in here.
        wanted = [{"boxes": t.boxes, "labels": t.labels + 1} for t in targets]
        _, losses = self._run(pyramid, placements, wanted)
        return {
            "objectness": losses["loss_objectness"],
            "proposal_box": losses["loss_rpn_box_reg"],
            "classification": losses["loss_classifier"],
            "box": losses["loss_box_reg"],
        }

    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """Boxes of the second stage after class-wise NMS."""
        found, _ = self._run(pyramid, placements, None)
        return [Detections(d["boxes"], d["scores"], d["labels"] - 1) for d in found]

    def _run(
        self,
        pyramid: FeaturePyramid,
        placements: Sequence[Placement],
        targets: list[dict[str, Tensor]] | None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        # torchvision asks these two modules' own flags which of the two answers is wanted.
        self.rpn.training = self.roi.training = targets is not None
        images = as_image_list(pyramid, placements)
        maps = OrderedDict(zip(pyramid.spec.names, pyramid.maps, strict=True))
        proposals, rpn_losses = self.rpn(images, maps, targets)
        found, roi_losses = self.roi(maps, proposals, images.image_sizes, targets)
        return found, {**rpn_losses, **roi_losses}


def _pooler(
    names: Sequence[str], strides: Sequence[int], settings: FasterRCNNSettings
) -> MultiScaleRoIAlign:
    """torchvision would infer the strides from the first batch's unpadded sizes, and keep them."""
    pooler = MultiScaleRoIAlign(list(names), settings.pool_size, sampling_ratio=2)
    pooler.scales = [1.0 / stride for stride in strides]
    pooler.map_levels = initLevelMapper(round(math.log2(strides[0])), round(math.log2(strides[-1])))
    return pooler
