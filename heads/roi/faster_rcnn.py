"""Faster R-CNN (Ren et al., arXiv 1506.01497); with masks, Mask R-CNN (He et al., arXiv 1703.06870)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ...cache.pyramid import PyramidSpec
from ..ranges import between
from .settings import RoISettings
from .two_stage import TwoStage


@dataclass(frozen=True, slots=True)
class FasterRCNNSettings(RoISettings):
    """The settings of Faster R-CNN."""

    name: Literal["faster-rcnn"] = "faster-rcnn"
    iou_foreground: Annotated[
        float, between(0, 1), "the overlap with an object from which a RoI counts as one"
    ] = 0.5


class FasterRCNN(TwoStage):
    """A two-stage head with a single box head."""

    def __init__(self, spec: PyramidSpec, classes: int, settings: FasterRCNNSettings) -> None:
        stage = (settings.iou_foreground, (10.0, 10.0, 5.0, 5.0))
        super().__init__(spec, classes, settings, [stage])
