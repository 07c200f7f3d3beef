"""The settings of the RoI heads, without torch, so that they can be checked before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ...cache.errors import ConfigError
from ...cache.pyramid import PyramidSpec
from ..checks import Auto, check_anchors
from ..family import GRID_HELP, Grid, HeadNorm, NMSSettings
from ..ranges import at_least, between

# The side of the smallest anchors, px, as in FPN (Lin et al., arXiv 1612.03144, section 4.1).
FIRST_SIDE = 32.0
# The factors of the offsets (x, y, w, h) of a box.
Weights = tuple[float, float, float, float]
StageLosses = Literal["mean", "sum"]


@dataclass(frozen=True, slots=True)
class RoISettings(NMSSettings):
    """The settings that all RoI heads share. Defaults suit small machines; presets have the papers' sizes."""

    anchor_scales: Annotated[
        tuple[float, ...] | Auto,
        "sides of the anchors, in strides; auto: one of 32 px on the finest level, and more where the "
        "training boxes need them",
    ] = "auto"
    ratios: Annotated[tuple[float, ...], "ratios of the anchors' height to width"] = (
        0.5,
        1.0,
        2.0,
    )
    anchor_grid: Annotated[Grid, GRID_HELP] = "stride"
    rpn_top_train: Annotated[
        tuple[int, int],
        at_least(1),
        "in training: proposals kept per level before NMS, and per image after it",
    ] = (500, 300)
    rpn_top_test: Annotated[
        tuple[int, int],
        at_least(1),
        "outside training: proposals kept per level before NMS, and per image after it",
    ] = (300, 300)
    rpn_nms_iou: Annotated[
        float, between(0, 1), "IoU above which the RPN's NMS drops the worse of two proposals"
    ] = 0.7
    rpn_sampled: Annotated[int, between(1, 2**20), "anchors per image that train the RPN"] = 256
    rpn_convs: Annotated[int, between(1, 64), "3x3 convolutions of the RPN"] = 1
    rpn_norm: Annotated[HeadNorm, "norm after each convolution of the RPN"] = "gn"
    pool_size: Annotated[int, between(1, 64), "cells per side of a pooled RoI"] = 7
    roi_aligned: Annotated[
        bool,
        "whether pooling takes a value of a map to lie at the centre of its cell (true) or at its corner",
    ] = True
    sampled: Annotated[int, between(1, 2**20), "RoIs per image that train the box heads"] = 128
    positive: Annotated[float, between(0, 1), "maximum share of RoIs on objects among them"] = 0.25
    convs: Annotated[int, between(0, 64), "3x3 convolutions of a box head"] = 1
    conv_channels: Annotated[int, between(1, 2**16), "channels of a box head's convolutions"] = 64
    norm: Annotated[HeadNorm, "norm after each convolution of box heads and the mask head"] = "gn"
    fc_layers: Annotated[int, between(1, 64), "linear layers of a box head"] = 2
    fc_channels: Annotated[int, between(1, 2**20), "channels of a box head's linear layers"] = 256
    class_agnostic: Annotated[bool, "one box per RoI, instead of one per class"] = False
    classifier: Annotated[
        Literal["softmax", "sigmoid"],
        "softmax: one class or background per RoI; sigmoid: each class by itself",
    ] = "softmax"
    masks: Annotated[bool, "predict masks too"] = False
    mask_pool_size: Annotated[
        int, between(1, 64), "cells per side of a RoI for its mask, which has twice as many"
    ] = 14
    mask_convs: Annotated[int, between(1, 64), "convolutions of the mask head"] = 2
    mask_channels: Annotated[int, between(1, 2**16), "channels of the mask head"] = 96

    def __post_init__(self) -> None:
        NMSSettings.__post_init__(self)
        check_anchors(self.anchor_scales, self.ratios)

    def scales(self, spec: PyramidSpec) -> tuple[float, ...]:
        """Return the scales of the anchors on the levels of `spec`."""
        if self.anchor_scales == "auto":
            return (FIRST_SIDE / spec.strides[0],)
        return self.anchor_scales


@dataclass(frozen=True, slots=True)
class FasterRCNNSettings(RoISettings):
    """The settings of Faster R-CNN."""

    name: Literal["faster-rcnn"] = "faster-rcnn"
    iou_foreground: Annotated[
        float, between(0, 1), "the overlap with an object from which a RoI counts as one"
    ] = 0.5


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
