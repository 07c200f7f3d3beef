"""The locations of a pyramid, level after level and row by row, and boxes as distances from their points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..cache.pyramid import FeaturePyramid, PyramidSpec
from .memo import Memo

# The distances that a fresh head begins with, in strides; its boxes have sides of twice that. RetinaNet's
# anchors begin with sides of 4 strides, and FCOS's ranges end with distances of 8.
FIRST_DISTANCE = 4.0


@dataclass(frozen=True, slots=True)
class Locations:
    """The locations of a pyramid on one canvas.

    points: (A, 2) xy, float32 canvas px. strides: (A, 1), float32 canvas px. counts: the number of
    locations of each level. Callers must not change the tensors.
    """

    points: Tensor
    strides: Tensor
    counts: tuple[int, ...]

    def boxes(self, distances: Tensor) -> Tensor:
        """Return boxes (..., A, 4) xyxy canvas px for distances (..., A, 4) in strides.

        The distances are those to the left, top, right and bottom sides.
        """
        return distance_boxes(self.points, self.strides, distances)

    def boxes_of(self, distances: Tensor, image: Tensor, location: Tensor) -> Tensor:
        """Return single boxes (N, 4), by the indices (N,) of their images and locations."""
        return distance_boxes(
            self.points[location], self.strides[location], distances[image, location]
        )

    def distances(self, boxes: Tensor) -> Tensor:
        """Return the distances for boxes, the inverse of `boxes`; negative for a point outside its box."""
        first, last = self.points - boxes[..., :2], boxes[..., 2:] - self.points
        return torch.cat([first, last], dim=-1) / self.strides


def distance_boxes(points: Tensor, strides: Tensor, distances: Tensor) -> Tensor:
    """Return the same as `Locations.boxes`, for any points (..., 2) and strides (..., 1)."""
    reach = distances * strides
    return torch.cat([points - reach[..., :2], points + reach[..., 2:]], dim=-1)


class LocationsOf:
    """A function from a pyramid to its locations, which are made once for each canvas and device.

    offset: where in its cell a point lies, in strides: 0.5 for the centre, 0 for the corner.
    """

    def __init__(self, spec: PyramidSpec, offset: float = 0.5) -> None:
        self._kept = Memo(partial(_places, spec, offset))

    def __call__(self, pyramid: FeaturePyramid) -> Locations:
        return self.of_canvas(pyramid.canvas_hw, pyramid.maps[0].device)

    def of_canvas(self, canvas_hw: tuple[int, int], device: torch.device) -> Locations:
        """Return the locations of a canvas (H, W) px."""
        return self._kept(canvas_hw, device)


def _places(
    spec: PyramidSpec, offset: float, canvas_hw: tuple[int, int], device: torch.device
) -> Locations:
    sizes = [level.shape(canvas_hw)[1:] for level in spec.levels]
    counts = tuple(rows * columns for rows, columns in sizes)
    grids = [
        (_cells(rows, columns) + offset) * stride
        for (rows, columns), stride in zip(sizes, spec.strides, strict=True)
    ]
    strides = per_location(spec.strides, counts)[:, None]
    return Locations(torch.cat(grids).to(device), strides.to(device), counts)


def _cells(rows: int, columns: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def per_location(values: Sequence[float], counts: Sequence[int]) -> Tensor:
    """Return (A,) float32 on the host: for each location the value of its level.

    counts: the number of locations of each level.
    """
    each = torch.tensor(values, dtype=torch.float32)
    return each.repeat_interleave(torch.tensor(counts))
