"""Faster R-CNN's heads (Ren et al., arXiv 1506.01497): torchvision's RPN and RoI heads on a pyramid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..anchors import anchor_generator, image_anchors
from ..checks import check_anchors, check_range
from ..detector import Head
from ..family import HeadSettings
from ..recompute import recomputed
from ..sampling import balanced
from ..types import Detections, Targets


@dataclass(frozen=True, slots=True)
class FasterRCNNSettings(HeadSettings):
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

    def __post_init__(self) -> None:
        HeadSettings.__post_init__(self)
        check_anchors(self.anchor_scales, self.ratios)
        for name in ("rpn_sampled", "pool_size", "sampled", "fc_channels"):
            check_range(f"head.{name}", getattr(self, name), 1, 2**20)
        check_range("head.pool_size", self.pool_size, 1, 64)
        for name in ("positive", "iou_foreground", "rpn_nms_iou"):
            check_range(f"head.{name}", getattr(self, name), 0, 1)
        for name in ("rpn_top_train", "rpn_top_test"):
            check_range(f"head.{name}", min(getattr(self, name)), 1)


class FasterRCNN(Head):
    """Proposals from every level; boxes pooled from all but those that exist for the RPN alone."""

    def __init__(self, spec: PyramidSpec, classes: int, settings: FasterRCNNSettings) -> None:
        super().__init__()
        self.settings = settings
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

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The RPN's convolutions and the layers on pooled RoIs."""
        return self.rpn.head, self.roi.box_head, self.roi.box_predictor

    def losses(
        self,
        pyramid: FeaturePyramid,
        placements: Sequence[Placement],
        targets: Sequence[Targets],
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        """Of "objectness", "proposal_box", "classification" and "box", (B,) each.

        Those of an image are divided by the number of its own sampled anchors or RoIs. torchvision
        divides by the batch's number: the mean over images equals its losses when every image
        samples equally many. An image's seed draws its anchors first, then its RoIs.
        """
        generators = [Random(seed) for seed in seeds]
        # Label 0 is the background in here, and only in here.
        wanted = [{"boxes": t.boxes, "labels": t.labels + 1} for t in targets]
        first = self._propose(pyramid, placements, training=True)
        losses = {
            **self._first_losses(first, wanted, generators),
            **self._second_losses(pyramid, first.boxes, wanted, generators),
        }
        return {name: torch.stack(of_images) for name, of_images in losses.items()}

    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """Boxes of the second stage after class-wise NMS."""
        rois = self._propose(pyramid, placements, training=False).boxes
        logits, deltas = self._classify(pyramid, rois)
        sizes = [placement.content_hw for placement in placements]
        found = self.roi.postprocess_detections(logits, deltas.flatten(1), rois, sizes)
        return [Detections(b, s, v - 1) for b, s, v in zip(*found, strict=True)]

    def _propose(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement], training: bool
    ) -> _Proposals:
        # torchvision asks the module's own flag how many proposals are wanted.
        self.rpn.training = training
        anchors = image_anchors(self.rpn.anchor_generator, pyramid)
        by_level = self._rpn_outputs(list(pyramid.maps))
        counts = [logits[0].numel() for logits in by_level[0]]
        objectness, deltas = (x.float() for x in concat_box_prediction_layers(*by_level))
        boxes, _ = self.rpn.filter_proposals(
            self.rpn.box_coder.decode(deltas.detach(), anchors).view(len(pyramid), -1, 4),
            objectness,
            [placement.content_hw for placement in placements],
            counts,
        )
        logits, deltas = objectness.view(len(pyramid), -1), deltas.view(len(pyramid), -1, 4)
        return _Proposals(anchors, logits, deltas, boxes)

    def _rpn_outputs(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness logits and box deltas of every level."""
        if not self.recomputes:
            return cast(tuple[list[Tensor], list[Tensor]], self.rpn.head(maps))
        levels = [recomputed(self.rpn.head, [x]) for x in maps]
        return [logits for (logits,), _ in levels], [deltas for _, (deltas,) in levels]

    def _first_losses(
        self, first: _Proposals, wanted: list[dict[str, Tensor]], generators: Sequence[Random]
    ) -> dict[str, list[Tensor]]:
        """Of each image's anchors: is there an object, and where is its box?"""
        losses: dict[str, list[Tensor]] = {"objectness": [], "proposal_box": []}
        matched = self.rpn.assign_targets_to_anchors(first.anchors, wanted)
        images = zip(first.anchors, first.logits, first.deltas, *matched, generators, strict=True)
        for anchors, logits, deltas, labels, boxes, generator in images:
            positive, negative = balanced(labels, self.settings.rpn_sampled, 0.5, generator)
            sampled = torch.cat([positive, negative])
            count = max(1, len(sampled))
            offsets = self.rpn.box_coder.encode_single(boxes[positive], anchors[positive])
            losses["objectness"].append(
                functional.binary_cross_entropy_with_logits(
                    logits[sampled], labels[sampled], reduction="sum"
                )
                / count
            )
            losses["proposal_box"].append(_box_loss(deltas[positive], offsets) / count)
        return losses

    def _second_losses(
        self,
        pyramid: FeaturePyramid,
        proposals: list[Tensor],
        wanted: list[dict[str, Tensor]],
        generators: Sequence[Random],
    ) -> dict[str, list[Tensor]]:
        """Of each image's RoIs, proposals and objects themselves: which class, and where is the box?"""
        rois = [self._sample_rois(*of) for of in zip(proposals, wanted, generators, strict=True)]
        counts = [len(of_image.boxes) for of_image in rois]
        logits, deltas = self._classify(pyramid, [of_image.boxes for of_image in rois])
        outputs = torch.split(logits, counts), torch.split(deltas, counts)
        losses: dict[str, list[Tensor]] = {"classification": [], "box": []}
        for of_image, logits, deltas in zip(rois, *outputs, strict=True):
            count = max(1, len(logits))
            classes = functional.cross_entropy(logits, of_image.labels, reduction="sum")
            positive = torch.where(of_image.labels > 0)[0]
            of_class = deltas[positive, of_image.labels[positive]]
            losses["classification"].append(classes / count)
            losses["box"].append(_box_loss(of_class, of_image.offsets) / count)
        return losses

    def _sample_rois(
        self, proposals: Tensor, wanted: dict[str, Tensor], generator: Random
    ) -> _SampledRoIs:
        boxes = torch.cat([proposals, wanted["boxes"]])
        (matched,), (labels,) = self.roi.assign_targets_to_proposals(
            [boxes], [wanted["boxes"]], [wanted["labels"]]
        )
        positive, negative = balanced(
            labels, self.settings.sampled, self.settings.positive, generator
        )
        sampled = torch.cat([positive, negative])
        objects = wanted["boxes"][matched[positive]]
        offsets = self.roi.box_coder.encode_single(objects, boxes[positive])
        return _SampledRoIs(boxes[sampled], labels[sampled], offsets)

    def _classify(self, pyramid: FeaturePyramid, rois: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (N, K + 1) and box deltas (N, K + 1, 4) of the N RoIs of all images, float32."""
        outputs = self._second_stage
        logits, deltas = (
            recomputed(outputs, pyramid, rois) if self.recomputes else outputs(pyramid, rois)
        )
        return logits.float(), deltas.float().unflatten(1, (-1, 4))

    def _second_stage(self, pyramid: FeaturePyramid, rois: list[Tensor]) -> tuple[Tensor, Tensor]:
        maps = dict(zip(pyramid.spec.names, pyramid.maps, strict=True))
        # The sizes are for inferring the strides, which the pooler has been given.
        pooled = self.roi.box_roi_pool(maps, rois, [])
        return cast(tuple[Tensor, Tensor], self.roi.box_predictor(self.roi.box_head(pooled)))


@dataclass(frozen=True, slots=True)
class _Proposals:
    """anchors: A boxes an image. logits (B, A) and deltas (B, A, 4): the RPN's, float32. boxes: the
    proposals of each image, (N, 4) canvas px, which pass no gradient.
    """

    anchors: list[Tensor]
    logits: Tensor
    deltas: Tensor
    boxes: list[Tensor]


@dataclass(frozen=True, slots=True)
class _SampledRoIs:
    """Of one image, positives first: boxes (N, 4) and labels (N,), 0 for background; the offsets of
    the P positives to their objects, (P, 4).
    """

    boxes: Tensor
    labels: Tensor
    offsets: Tensor


def _box_loss(deltas: Tensor, offsets: Tensor) -> Tensor:
    """torchvision's: smooth L1, which is quadratic below 1/9, summed over the boxes (P, 4)."""
    return functional.smooth_l1_loss(deltas, offsets, beta=1 / 9, reduction="sum")


def _pooler(
    names: Sequence[str], strides: Sequence[int], settings: FasterRCNNSettings
) -> MultiScaleRoIAlign:
    """torchvision would infer the strides from the first batch's unpadded sizes, and keep them."""
    pooler = MultiScaleRoIAlign(list(names), settings.pool_size, sampling_ratio=2)
    pooler.scales = [1.0 / stride for stride in strides]
    pooler.map_levels = initLevelMapper(round(math.log2(strides[0])), round(math.log2(strides[-1])))
    return pooler
