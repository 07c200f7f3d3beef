"""Cascade R-CNN (Cai and Vasconcelos, arXiv 1712.00726); with masks, Cascade Mask R-CNN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ...cache.errors import ConfigError
from ...cache.pyramid import PyramidSpec
from ..ranges import between
from .box_head import Weights
from .settings import RoISettings
from .two_stage import StageLosses, TwoStage


@dataclass(frozen=True, slots=True)
class CascadeRCNNSettings(RoISettings):
    """The settings of Cascade R-CNN, with one value of iou_thresholds and box_weights for each stage.

    The box weights grow as the remaining correction shrinks.
    """

    name: Literal["cascade-rcnn"] = "cascade-rcnn"
    class_agnostic: Annotated[bool, "one box per RoI, instead of one per class"] = True
    stage_losses: Annotated[
        StageLosses, "how the losses of the stages are combined; Detectron2 adds them up"
    ] = "mean"
    iou_thresholds: Annotated[
        tuple[float, ...],
        between(0, 1),
        "the overlap with an object from which a RoI counts as one, by stage",
    ] = (0.5, 0.6, 0.7)
    box_weights: Annotated[
        tuple[Weights, ...], "the factors of the offsets (x, y, w, h), by stage"
    ] = (
        (10.0, 10.0, 5.0, 5.0),
        (20.0, 20.0, 10.0, 10.0),
        (30.0, 30.0, 15.0, 15.0),
    )

    def __post_init__(self) -> None:
        RoISettings.__post_init__(self)
        stages = len(self.iou_thresholds)
        if not 1 <= stages <= 16:
            raise ConfigError(f"setting 'head.iou_thresholds': expected 1 to 16, got {stages}")
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
    """Box heads of increasing quality, each of which takes the RoIs that the previous one has refined."""

    def __init__(self, spec: PyramidSpec, classes: int, settings: CascadeRCNNSettings) -> None:
        stages = list(zip(settings.iou_thresholds, settings.box_weights, strict=True))
        super().__init__(spec, classes, settings, stages, settings.stage_losses)
