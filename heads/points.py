"""Places of a pyramid, level after level and row by row, and boxes as distances from their points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..cache.pyramid import FeaturePyramid, PyramidSpec
from .memo import Memo

# Sides of the first boxes of a fresh head are twice that, in strides: those that RetinaNet's anchors begin
# with, and FCOS's ranges end with.
FIRST_DISTANCE = 4.0


@dataclass(frozen=True, slots=True)
class Places:
    """points: (A, 2) xy, strides: (A, 1), both float32 canvas px. counts: places a level.

    Nobody may change the tensors.
    """

    points: Tensor
    strides: Tensor
    counts: tuple[int, ...]

    def boxes(self, distances: Tensor) -> Tensor:
        """(..., A, 4) to left, top, right and bottom in strides -> (..., A, 4) xyxy canvas px."""
        return distance_boxes(self.points, self.strides, distances)

    def distances(self, boxes: Tensor) -> Tensor:
        """The way back; below zero where the point lies outside its box."""
        first, last = self.points - boxes[..., :2], boxes[..., 2:] - self.points
        return torch.cat([first, last], dim=-1) / self.strides


def distance_boxes(points: Tensor, strides: Tensor, distances: Tensor) -> Tensor:
    """As `Places.boxes`, of any points (..., 2) and strides (..., 1)."""
    reach = distances * strides
    return torch.cat([points - reach[..., :2], points + reach[..., 2:]], dim=-1)


class PlacesOf:
    """pyramid -> its places, made once a canvas and device.

    offset: where in its place a point lies, in strides: 0.5 in the centre, 0 in the corner.
    """

    def __init__(self, spec: PyramidSpec, offset: float = 0.5) -> None:
        self._kept = Memo(partial(_places, spec, offset))

    def __call__(self, pyramid: FeaturePyramid) -> Places:
        return self.of_canvas(pyramid.canvas_hw, pyramid.maps[0].device)

    def of_canvas(self, canvas_hw: tuple[int, int], device: torch.device) -> Places:
        """Those of a canvas (H, W) px."""
        return self._kept(canvas_hw, device)


def _places(
    spec: PyramidSpec, offset: float, canvas_hw: tuple[int, int], device: torch.device
) -> Places:
    sizes = [level.shape(canvas_hw)[1:] for level in spec.levels]
    counts = tuple(rows * columns for rows, columns in sizes)
    grids = [
        (_cells(rows, columns) + offset) * stride
        for (rows, columns), stride in zip(sizes, spec.strides, strict=True)
    ]
    strides = per_place(spec.strides, counts)[:, None]
    return Places(torch.cat(grids).to(device), strides.to(device), counts)


def _cells(rows: int, columns: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def per_place(values: Sequence[float], counts: Sequence[int]) -> Tensor:
    """(A,) float32 on the host: of each place the value of its level, which has so many of them."""
    each = torch.tensor(values, dtype=torch.float32)
    return each.repeat_interleave(torch.tensor(counts))
