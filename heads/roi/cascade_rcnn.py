"""Cascade R-CNN (Cai and Vasconcelos, arXiv 1712.00726); with masks, Cascade Mask R-CNN."""

from __future__ import annotations

from ...cache.pyramid import PyramidSpec
from .settings import CascadeRCNNSettings
from .two_stage import TwoStage


class CascadeRCNN(TwoStage):
    """Box heads of increasing quality, each of which takes the RoIs that the previous one has refined."""

    def __init__(self, spec: PyramidSpec, classes: int, settings: CascadeRCNNSettings) -> None:
        stages = list(zip(settings.iou_thresholds, settings.box_weights, strict=True))
        super().__init__(spec, classes, settings, stages, settings.stage_losses)
