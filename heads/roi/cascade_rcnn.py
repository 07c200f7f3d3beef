"""Cascade R-CNN (Cai and Vasconcelos, arXiv 1712.00726), with masks Cascade Mask R-CNN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...cache.errors import ConfigError
from ...cache.pyramid import PyramidSpec
from ..checks import check_range
from .box_head import Weights
from .settings import RoISettings
from .two_stage import StageLosses, TwoStage


@dataclass(frozen=True, slots=True)
class CascadeRCNNSettings(RoISettings):
    """Of each stage, iou_thresholds: overlap with an object from which a RoI is one; box_weights: of
    the offsets (x, y, w, h), which grow as what is left to correct shrinks. stage_losses: what the
    losses of the stages come to; Detectron2 adds them up.
    """

    name: Literal["cascade-rcnn"] = "cascade-rcnn"
    class_agnostic: bool = True
    stage_losses: StageLosses = "mean"
    iou_thresholds: tuple[float, ...] = (0.5, 0.6, 0.7)
    box_weights: tuple[Weights, ...] = (
        (10.0, 10.0, 5.0, 5.0),
        (20.0, 20.0, 10.0, 10.0),
        (30.0, 30.0, 15.0, 15.0),
    )

    def __post_init__(self) -> None:
        RoISettings.__post_init__(self)
        stages = len(self.iou_thresholds)
        if not 1 <= stages <= 16:
            raise ConfigError(f"setting 'head.iou_thresholds': expected 1 to 16, got {stages}")
        for threshold in self.iou_thresholds:
            check_range("head.iou_thresholds", threshold, 0, 1)
        if len(self.box_weights) != stages:
            raise ConfigError(
                "setting 'head.box_weights': expected four numbers for each of the "
                f"{stages} stages of 'head.iou_thresholds', got {len(self.box_weights)}"
            )
        if min(map(min, self.box_weights)) <= 0:
            raise ConfigError(
                f"setting 'head.box_weights': expected positive numbers, got {self.box_weights}"
            )


class CascadeRCNN(TwoStage):
    """Box heads of growing quality, each on what the one before made of its RoIs."""

    def __init__(self, spec: PyramidSpec, classes: int, settings: CascadeRCNNSettings) -> None:
        stages = list(zip(settings.iou_thresholds, settings.box_weights, strict=True))
        super().__init__(spec, classes, settings, stages, settings.stage_losses)
