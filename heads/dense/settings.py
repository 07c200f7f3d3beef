"""The settings of the dense heads, without torch, so that they can be checked before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ...cache.pyramid import PyramidSpec
from ..checks import Auto, check_anchors, check_range
from ..family import CONVS_HELP, GRID_HELP, NMS_HELP, Grid, HeadNorm, NMSSettings
from ..ranges import at_least, between

# The sides of RetinaNet's anchors, in strides (Lin et al., arXiv 1708.02002, section 4).
SCALES = (4.0, 4.0 * 2 ** (1 / 3), 4.0 * 2 ** (2 / 3))


@dataclass(frozen=True, slots=True)
class RetinaNetSettings(NMSSettings):
    """The settings of RetinaNet. Anchors whose IoU lies between the two bounds train no class."""

    name: Literal["retinanet"] = "retinanet"
    anchor_scales: Annotated[
        tuple[float, ...] | Auto,
        "sides of the anchors of every level, in strides; auto: the paper's, and more where the training "
        "boxes need them",
    ] = "auto"
    ratios: Annotated[tuple[float, ...], "ratios of the anchors' height to width"] = (
        0.5,
        1.0,
        2.0,
    )
    anchor_grid: Annotated[Grid, GRID_HELP] = "stride"
    convs: Annotated[int, between(1, 64), CONVS_HELP] = 2
    norm: Annotated[HeadNorm, "norm after each convolution of the towers"] = "gn"
    iou_foreground: Annotated[
        float, between(0, 1), "minimum IoU of an anchor with the object that it learns"
    ] = 0.5
    iou_background: Annotated[
        float, between(0, 1), "IoU below which an anchor learns that there is no object"
    ] = 0.4

    def __post_init__(self) -> None:
        NMSSettings.__post_init__(self)
        check_anchors(self.anchor_scales, self.ratios)
        check_range("head.iou_background", self.iou_background, 0, self.iou_foreground)

    def scales(self, spec: PyramidSpec) -> tuple[float, ...]:
        """Return the scales of the anchors on the levels of `spec`."""
        return SCALES if self.anchor_scales == "auto" else self.anchor_scales


@dataclass(frozen=True, slots=True)
class FCOSSettings(NMSSettings):
    """The settings of FCOS."""

    name: Literal["fcos"] = "fcos"
    nms_iou: Annotated[float, between(0, 1), NMS_HELP] = 0.6
    radius: Annotated[float, at_least(0), "radius of centre sampling, in strides"] = 1.5
    convs: Annotated[int, between(1, 64), CONVS_HELP] = 2
    norm: Annotated[HeadNorm, "norm after each convolution of the towers"] = "gn"
    offset: Annotated[
        float,
        between(0, 1),
        "position of a point in its cell, in strides; 0.5: the centre, as in the paper; 0: the corner, as in "
        "torchvision's model",
    ] = 0.5


@dataclass(frozen=True, slots=True)
class TALSettings(NMSSettings):
    """The settings of the head with task-aligned assignment."""

    name: Literal["tal"] = "tal"
    nms_iou: Annotated[float, between(0, 1), NMS_HELP] = 0.6
    convs: Annotated[int, between(1, 64), CONVS_HELP] = 2
    norm: Annotated[HeadNorm, "norm after each convolution of the towers"] = "gn"
    alpha: Annotated[
        float, between(0, 100), "weight of the score in the choice of an object's points"
    ] = 1.0
    beta: Annotated[
        float, between(0, 100), "weight of the IoU in the choice of an object's points"
    ] = 6.0
    top_k: Annotated[int, between(1, 2**20), "maximum number of points that learn an object"] = 13
    box_weight: Annotated[float, at_least(0), "weight of the box loss"] = 2.0
    reg_max: Annotated[
        int,
        between(0, 256),
        "maximum distance from a point to a side of its box, in strides; each distance is a distribution "
        "over 0, 1, ... reg_max, as in GFL; 0: a distance is one number without a maximum",
    ] = 16
    dfl_weight: Annotated[
        float, at_least(0), "weight of the distribution focal loss of the distances"
    ] = 1.0
