"""Faster R-CNN (Ren et al., arXiv 1506.01497); with masks, Mask R-CNN (He et al., arXiv 1703.06870)."""

from __future__ import annotations

from ...cache.pyramid import PyramidSpec
from .settings import FasterRCNNSettings
from .two_stage import TwoStage


class FasterRCNN(TwoStage):
    """A two-stage head with a single box head."""

    def __init__(self, spec: PyramidSpec, classes: int, settings: FasterRCNNSettings) -> None:
        stage = (settings.iou_foreground, (10.0, 10.0, 5.0, 5.0))
        super().__init__(spec, classes, settings, [stage])
