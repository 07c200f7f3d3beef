"""Faster R-CNN (Ren et al., arXiv 1506.01497), and Mask R-CNN (He et al., arXiv 1703.06870) with masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...cache.pyramid import PyramidSpec
from ..checks import check_range
from .settings import RoISettings
from .two_stage import TwoStage


@dataclass(frozen=True, slots=True)
class FasterRCNNSettings(RoISettings):
    """iou_foreground: overlap with an object from which a RoI is one."""

    name: Literal["faster-rcnn"] = "faster-rcnn"
    iou_foreground: float = 0.5

    def __post_init__(self) -> None:
        RoISettings.__post_init__(self)
        check_range("head.iou_foreground", self.iou_foreground, 0, 1)


class FasterRCNN(TwoStage):
    """A single box head."""

    def __init__(self, spec: PyramidSpec, classes: int, settings: FasterRCNNSettings) -> None:
        stage = (settings.iou_foreground, (10.0, 10.0, 5.0, 5.0))
        super().__init__(spec, classes, settings, [stage])
