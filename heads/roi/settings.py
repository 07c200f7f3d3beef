"""What is set of every RoI head; checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..checks import check_anchors, check_range
from ..family import HeadSettings


@dataclass(frozen=True, slots=True)
class RoISettings(HeadSettings):
    """anchor_scales: sides of the anchors in strides. rpn_top_train, rpn_top_test: proposals kept
    a level before and an image after NMS. rpn_convs: 3x3 convolutions of the RPN; rpn_norm: after them.
    sampled, positive: RoIs an image and the share of objects. roi_aligned: whether pooling takes a place of
    a map for its centre, or else for its corner.

    convs, conv_channels, fc_layers, fc_channels: of each box head; norm: after its convolutions and
    those of the masks. class_agnostic: one box a RoI, not one a class. classifier: one class or
    background of each RoI ("softmax"), or each class by itself ("sigmoid").
    masks: whether they are found too; mask_convs, mask_channels: of their layers, on mask_pool_size²
    cells, which come out as twice as many a side.
    """

    anchor_scales: tuple[float, ...] = (8.0,)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    rpn_top_train: tuple[int, int] = (2000, 1000)
    rpn_top_test: tuple[int, int] = (1000, 1000)
    rpn_nms_iou: float = 0.7
    rpn_sampled: int = 256
    rpn_convs: int = 1
    rpn_norm: Literal["none", "gn", "gn32"] = "gn"
    pool_size: int = 7
    roi_aligned: bool = True
    sampled: int = 512
    positive: float = 0.25
    convs: int = 0
    conv_channels: int = 256
    norm: Literal["none", "gn", "gn32"] = "gn"
    fc_layers: int = 2
    fc_channels: int = 1024
    class_agnostic: bool = False
    classifier: Literal["softmax", "sigmoid"] = "softmax"
    masks: bool = False
    mask_pool_size: int = 14
    mask_convs: int = 4
    mask_channels: int = 256

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
