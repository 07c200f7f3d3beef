"""The anchors of a pyramid: torchvision's cells, on a grid that steps by the strides of the levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator

from ..cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from .family import Grid
from .memo import Memo

HW = tuple[int, int]


class Anchors(AnchorGenerator):  # type: ignore[misc]
    """torchvision's generator for the cells, which also keeps the anchors of the most recent canvases."""

    def __init__(
        self,
        spec: PyramidSpec,
        scales: Sequence[float],
        ratios: Sequence[float],
        grid: Grid = "stride",
    ) -> None:
        """Build anchors with a side of scale × stride px on each level, at each ratio (height / width)."""
        sizes = tuple(tuple(scale * stride for scale in scales) for stride in spec.strides)
        super().__init__(sizes, (tuple(ratios),) * len(spec.levels))
        self.spec, self.grid = spec, grid
        self.scales, self.ratios = tuple(scales), tuple(ratios)
        self.of_canvas = Memo(self._of_canvas)

    def _of_canvas(self, canvas_hw: HW, device: torch.device) -> Tensor:
        self.set_cell_anchors(torch.float32, device)
        sizes = [level.shape(canvas_hw)[1:] for level in self.spec.levels]
        steps = [self.step(level, canvas_hw) for level in self.spec.levels]
        return torch.cat(self.grid_anchors(sizes, steps))

    def step(self, level: LevelSpec, canvas_hw: HW) -> HW:
        """Return the distance in pixels from one anchor of a level to the next, down and to the right."""
        if self.grid == "stride":
            return level.stride, level.stride
        _, rows, columns = level.shape(canvas_hw)
        return canvas_hw[0] // rows, canvas_hw[1] // columns


def canvas_anchors(anchors: Anchors, pyramid: FeaturePyramid) -> Tensor:
    """Return (A, 4) float32 canvas px, level after level, whatever the maps' dtype.

    Callers must not change the tensor.
    """
    return anchors.of_canvas(pyramid.canvas_hw, pyramid.maps[0].device)


def image_anchors(anchors: Anchors, pyramid: FeaturePyramid) -> list[Tensor]:
    """Return the same anchors once for each image, as torchvision expects them."""
    return [canvas_anchors(anchors, pyramid)] * len(pyramid)


def best_iou(anchors: Anchors, boxes: Tensor, canvas_hw: HW) -> Tensor:
    """Return (N,): the largest IoU of each box of (N, 4), canvas px, with any anchor.

    For each level and cell, that is the IoU with the anchor whose centre is nearest, so no grid is made.
    """
    anchors.set_cell_anchors(torch.float32, boxes.device)
    best = boxes.new_zeros(len(boxes))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    for level, cells in zip(anchors.spec.levels, anchors.cell_anchors, strict=True):
        rows, columns = level.shape(canvas_hw)[1:]
        step = boxes.new_tensor(anchors.step(level, canvas_hw)[::-1])
        last = boxes.new_tensor((columns - 1, rows - 1))
        nearest = (centres / step).round().clamp(min=0).minimum(last) * step
        placed = nearest.repeat(1, 2)[:, None] + cells
        best = best.maximum(_iou(boxes[:, None], placed).amax(dim=1))
    return best


def _iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU of boxes (..., 4) with boxes (..., 4), pair by pair."""
    low, high = first[..., :2].maximum(second[..., :2]), first[..., 2:].minimum(second[..., 2:])
    overlap = (high - low).clamp(min=0).prod(dim=-1)
    areas = ((x[..., 2:] - x[..., :2]).prod(dim=-1) for x in (first, second))
    return overlap / (sum(areas) - overlap).clamp(min=1e-9)
