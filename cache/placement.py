"""The placement of an image on its canvas; it alone converts boxes between the two coordinate frames."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Placement:
    """The affine map x_canvas = ±scale · x_image + shift of each axis; minus where it is flipped.

    image_hw: the size of the image file in px, (rows, columns).
    canvas_hw: the size in px of the padded tensor that the backbone saw.
    content_hw: the size in px of the part of the canvas that shows the image; this part begins at the
        top left of the canvas, and the rest is padding.
    scale, shift, flip: the values for (x, y).
    """

    image_hw: tuple[int, int]
    canvas_hw: tuple[int, int]
    content_hw: tuple[int, int]
    scale: tuple[float, float]
    shift: tuple[float, float]
    flip: tuple[bool, bool] = (False, False)

    def __post_init__(self) -> None:
        if min(self.image_hw) < 1 or min(self.content_hw) < 1:
            raise ValueError(f"sizes must be positive, got {self.image_hw} and {self.content_hw}")
        if any(c > k for c, k in zip(self.content_hw, self.canvas_hw, strict=True)):
            raise ValueError(f"content {self.content_hw} exceeds the canvas {self.canvas_hw}")
        if not min(self.scale) > 0:
            raise ValueError(f"scale must be positive, got {self.scale}")
        if not all(map(math.isfinite, (*self.scale, *self.shift))):
            raise ValueError(f"scale and shift must be finite, got {self.scale} and {self.shift}")

    def to_canvas(self, boxes_image: Tensor) -> Tensor:
        """Map boxes (N, 4) from image px to canvas px, clipped to the part that shows the image."""
        return _clipped(self._forward(boxes_image), self.content_hw)

    def to_image(self, boxes_canvas: Tensor) -> Tensor:
        """Map boxes (N, 4) from canvas px to image px, clipped to the image."""
        signed, shift = self._signed(boxes_canvas)
        return _clipped(self._ordered((boxes_canvas - shift) / signed), self.image_hw)

    def visible_share(self, boxes_image: Tensor) -> Tensor:
        """Return the share (N,), 0 to 1, of each box's area that lies on the canvas.

        boxes_image: (N, 4) in image px.
        """
        whole = self._forward(boxes_image)
        return _area(_clipped(whole, self.content_hw)) / _area(whole).clamp(min=1e-9)

    def mirrored(self, grids: Tensor) -> Tensor:
        """Convert grids (N, rows, columns) that span boxes from one frame to the other, either way."""
        flipped = [axis for axis, flip in zip((-1, -2), self.flip, strict=True) if flip]
        return grids.flip(flipped)

    def _forward(self, boxes_image: Tensor) -> Tensor:
        signed, shift = self._signed(boxes_image)
        return self._ordered(boxes_image * signed + shift)

    def _signed(self, like: Tensor) -> tuple[Tensor, Tensor]:
        signs = [-s if f else s for s, f in zip(self.scale, self.flip, strict=True)]
        return like.new_tensor(signs * 2), like.new_tensor([*self.shift, *self.shift])

    def _ordered(self, boxes: Tensor) -> Tensor:
        """Put the smaller coordinate first again, since a flip swaps left and right or top and bottom."""
        left, right = (2, 0) if self.flip[0] else (0, 2)
        top, bottom = (3, 1) if self.flip[1] else (1, 3)
        return boxes[:, [left, top, right, bottom]]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Placement:
        return cls(**{name: tuple(value) for name, value in data.items()})


def _clipped(boxes: Tensor, hw: tuple[int, int]) -> Tensor:
    limits = boxes.new_tensor([hw[1], hw[0], hw[1], hw[0]])
    return boxes.clamp(min=0).minimum(limits)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
