"""What is set of every RoI head; checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...cache.pyramid import PyramidSpec
from ..anchors import Grid
from ..checks import Auto, check_anchors, check_range
from ..family import HeadSettings

# Of the smallest anchors, px, as in FPN (Lin et al., arXiv 1612.03144, section 4.1).
FIRST_SIDE = 32.0


@dataclass(frozen=True, slots=True)
class RoISettings(HeadSettings):
    """anchor_scales: sides of the anchors in strides; "auto": one that is FIRST_SIDE px on the finest
    level, and for a run more where its training boxes need them. anchor_grid: how far anchors lie apart.
    rpn_top_train, rpn_top_test: proposals kept a level before and an image after NMS. rpn_convs: 3x3
    convolutions of the RPN; rpn_norm: after them. sampled, positive: RoIs an image and the share of objects.
    roi_aligned: whether pooling takes a place of a map for its centre, or else for its corner.
    Sizes are for small machines; presets have the papers'.

    convs, conv_channels, fc_layers, fc_channels: of each box head; norm: after its convolutions and
    those of the masks. class_agnostic: one box a RoI, not one a class. classifier: one class or
    background of each RoI ("softmax"), or each class by itself ("sigmoid").
    masks: whether they are found too; mask_convs, mask_channels: of their layers, on mask_pool_size²
    cells, which come out as twice as many a side.
    """

    anchor_scales: tuple[float, ...] | Auto = "auto"
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    anchor_grid: Grid = "stride"
    rpn_top_train: tuple[int, int] = (500, 300)
    rpn_top_test: tuple[int, int] = (300, 300)
    rpn_nms_iou: float = 0.7
    rpn_sampled: int = 256
    rpn_convs: int = 1
    rpn_norm: Literal["none", "gn", "gn32"] = "gn"
    pool_size: int = 7
    roi_aligned: bool = True
    sampled: int = 128
    positive: float = 0.25
    convs: int = 1
    conv_channels: int = 64
    norm: Literal["none", "gn", "gn32"] = "gn"
    fc_layers: int = 2
    fc_channels: int = 256
    class_agnostic: bool = False
    classifier: Literal["softmax", "sigmoid"] = "softmax"
    masks: bool = False
    mask_pool_size: int = 14
    mask_convs: int = 2
    mask_channels: int = 96

    def __post_init__(self) -> None:
        HeadSettings.__post_init__(self)
        check_anchors(self.anchor_scales, self.ratios)
        for name in ("rpn_sampled", "sampled", "fc_channels"):
            check_range(f"head.{name}", getattr(self, name), 1, 2**20)
        for name in ("conv_channels", "mask_channels"):
            check_range(f"head.{name}", getattr(self, name), 1, 2**16)
        for name in ("pool_size", "mask_pool_size", "fc_layers", "mask_convs", "rpn_convs"):
            check_range(f"head.{name}", getattr(self, name), 1, 64)
        check_range("head.convs", self.convs, 0, 64)
        for name in ("positive", "rpn_nms_iou"):
            check_range(f"head.{name}", getattr(self, name), 0, 1)
        for name in ("rpn_top_train", "rpn_top_test"):
            check_range(f"head.{name}", min(getattr(self, name)), 1)

    def scales(self, spec: PyramidSpec) -> tuple[float, ...]:
        """Of the anchors on the levels of `spec`."""
        if self.anchor_scales == "auto":
            return (FIRST_SIDE / spec.strides[0],)
        return self.anchor_scales
