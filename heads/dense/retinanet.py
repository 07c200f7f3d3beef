"""RetinaNet's head (Lin et al., arXiv 1708.02002): torchvision's, fed with a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models.detection.retinanet import RetinaNet as TorchvisionRetinaNet

from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..anchors import anchor_generator, as_image_list
from ..detector import Head
from ..types import Detections, Targets


@dataclass(frozen=True, slots=True)
class RetinaNetSettings:
    """anchor_scale: side of the smallest anchor in strides; octave_scales: anchors an octave.

    iou_foreground, iou_background: anchors between them train no class. score_threshold,
    nms_iou, max_detections: of what is reported.
    """

    name: Literal["retinanet"] = "retinanet"
    anchor_scale: float = 4.0
    octave_scales: int = 3
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    iou_foreground: float = 0.5
    iou_background: float = 0.4
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    max_detections: int = 100


class _NoBackbone(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels


class RetinaNet(Head):
    """Focal-loss classification and L1 box regression on anchors of every level."""

    def __init__(self, spec: PyramidSpec, classes: int, settings: RetinaNetSettings) -> None:
        super().__init__()
        octaves = [2 ** (k / settings.octave_scales) for k in range(settings.octave_scales)]
        self.net = TorchvisionRetinaNet(
            _NoBackbone(spec.channels[0]),
            classes,
            anchor_generator=anchor_generator(
                spec, [settings.anchor_scale * octave for octave in octaves], settings.ratios
            ),
            fg_iou_thresh=settings.iou_foreground,
            bg_iou_thresh=settings.iou_background,
            score_thresh=settings.score_threshold,
            nms_thresh=settings.nms_iou,
            detections_per_img=settings.max_detections,
        )

    def losses(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement], targets: Sequence[Targets]
    ) -> dict[str, Tensor]:
        """Of "classification" and "box": means over the images, each normalised by its own anchors."""
        outputs, anchors = self._outputs(pyramid, placements)
        wanted = [{"boxes": t.boxes, "labels": t.labels} for t in targets]
        losses = self.net.compute_loss(wanted, outputs, anchors)
        return {"classification": losses["classification"], "box": losses["bbox_regression"]}

    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """Per level the 1000 best above the threshold, then class-wise NMS."""
        outputs, anchors = self._outputs(pyramid, placements)
        per_place = self.net.anchor_generator.num_anchors_per_location()[0]
        counts = [per_place * x.shape[-2] * x.shape[-1] for x in pyramid.maps]
        by_level = {name: list(torch.split(x, counts, dim=1)) for name, x in outputs.items()}
        found = self.net.postprocess_detections(
            by_level,
            [list(torch.split(a, counts)) for a in anchors],
            [placement.content_hw for placement in placements],
        )
        return [Detections(d["boxes"], d["scores"], d["labels"]) for d in found]

    def _outputs(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        maps = list(pyramid.maps)
        anchors = self.net.anchor_generator(as_image_list(pyramid, placements), maps)
        return self.net.head(maps), anchors
