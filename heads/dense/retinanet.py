"""RetinaNet's head (Lin et al., arXiv 1708.02002): torchvision's, fed with a feature pyramid."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torchvision.models.detection.retinanet import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.retinanet import RetinaNetHead

from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..anchors import anchor_generator, image_anchors
from ..checks import check_anchors, check_range
from ..detector import Head
from ..family import HeadSettings
from ..norms import norm_layer
from ..recompute import recomputed
from ..types import Detections, Targets


@dataclass(frozen=True, slots=True)
class RetinaNetSettings(HeadSettings):
    """anchor_scales: sides of the anchors of every level, in strides. convs: in each of the two
    towers; norm: between them, group normalisation where "gn".

    iou_foreground, iou_background: anchors between them train no class.
    """

    name: Literal["retinanet"] = "retinanet"
    anchor_scales: tuple[float, ...] = (4.0, 4.0 * 2 ** (1 / 3), 4.0 * 2 ** (2 / 3))
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    convs: int = 4
    norm: Literal["none", "gn"] = "none"
    iou_foreground: float = 0.5
    iou_background: float = 0.4

    def __post_init__(self) -> None:
        HeadSettings.__post_init__(self)
        check_anchors(self.anchor_scales, self.ratios)
        check_range("head.convs", self.convs, 1, 64)
        check_range("head.iou_foreground", self.iou_foreground, 0, 1)
        check_range("head.iou_background", self.iou_background, 0, self.iou_foreground)


def resized_tower(tower: nn.Sequential, convs: int) -> nn.Sequential:
    """The first blocks of a tower of convolutions of one width; more are copies with new weights."""
    blocks = [tower[k] if k < len(tower) else copy.deepcopy(tower[-1]) for k in range(convs)]
    added = [m for block in blocks[len(tower) :] for m in block.modules()]
    for conv in (m for m in added if isinstance(m, nn.Conv2d)):
        nn.init.normal_(conv.weight, std=0.01)
    return nn.Sequential(*blocks)


class _NoBackbone(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels


class RetinaNet(Head):
    """Focal-loss classification and L1 box regression on anchors of every level."""

    def __init__(self, spec: PyramidSpec, classes: int, settings: RetinaNetSettings) -> None:
        super().__init__()
        channels = spec.channels[0]
        anchors = anchor_generator(spec, settings.anchor_scales, settings.ratios)
        head = RetinaNetHead(
            channels,
            anchors.num_anchors_per_location()[0],
            classes,
            norm_layer=norm_layer(settings.norm),
        )
        # torchvision's towers have four convolutions each.
        for tower in (head.classification_head, head.regression_head):
            tower.conv = resized_tower(tower.conv, settings.convs)
        self.net = TorchvisionRetinaNet(
            _NoBackbone(channels),
            classes,
            anchor_generator=anchors,
            head=head,
            fg_iou_thresh=settings.iou_foreground,
            bg_iou_thresh=settings.iou_background,
            score_thresh=settings.score_threshold,
            nms_thresh=settings.nms_iou,
            detections_per_img=settings.max_detections,
        )

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The two towers."""
        return self.net.head.classification_head, self.net.head.regression_head

    def losses(
        self,
        pyramid: FeaturePyramid,
        placements: Sequence[Placement],
        targets: Sequence[Targets],
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        """Of "classification" and "box", (B,) each; every image's is divided by the number of its own
        foreground anchors, and nothing is drawn.
        """
        outputs, anchors = self._outputs(pyramid)
        images = zip(*(torch.split(x, 1) for x in outputs.values()), anchors, targets, strict=True)
        losses = [
            self.net.compute_loss(
                [{"boxes": wanted.boxes, "labels": wanted.labels}],
                {"cls_logits": logits, "bbox_regression": deltas},
                [of_image],
            )
            for logits, deltas, of_image, wanted in images
        ]
        names = {"classification": "classification", "box": "bbox_regression"}
        return {ours: torch.stack([x[theirs] for x in losses]) for ours, theirs in names.items()}

    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """Per level the 1000 best above the threshold, then class-wise NMS."""
        outputs, anchors = self._outputs(pyramid)
        per_place = self.net.anchor_generator.num_anchors_per_location()[0]
        counts = [per_place * x.shape[-2] * x.shape[-1] for x in pyramid.maps]
        by_level = {name: list(torch.split(x, counts, dim=1)) for name, x in outputs.items()}
        found = self.net.postprocess_detections(
            by_level,
            [list(torch.split(a, counts)) for a in anchors],
            [placement.content_hw for placement in placements],
        )
        return [Detections(d["boxes"], d["scores"], d["labels"]) for d in found]

    def _outputs(self, pyramid: FeaturePyramid) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Logits (B, A, K) and box deltas (B, A, 4) of all levels in float32, and the anchors."""
        towers = zip(("cls_logits", "bbox_regression"), self.parts, strict=True)
        outputs = {name: self._tower(tower, pyramid.maps).float() for name, tower in towers}
        return outputs, image_anchors(self.net.anchor_generator, pyramid)

    def _tower(self, tower: nn.Module, maps: Sequence[Tensor]) -> Tensor:
        if not self.recomputes:
            return cast(Tensor, tower(list(maps)))
        return torch.cat([recomputed(tower, [x]) for x in maps], dim=1)
