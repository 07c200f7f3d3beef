"""How an image became a canvas: the only thing that carries boxes from one frame to the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Placement:
    """The affine map x_canvas = ±scale · x_image + shift, for each axis; minus where flipped.

    image_hw: size of the image file in px, (rows, columns).
    canvas_hw: size of the padded tensor that the backbone saw, in px.
    content_hw: size of the part of the canvas, anchored at its top left, that shows the image;
        all else is padding.
    scale, shift, flip: for (x, y).
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
        """(N, 4) image px -> (N, 4) canvas px, clipped to the part that shows the image."""
        return _clipped(self._forward(boxes_image), self.content_hw)

    def to_image(self, boxes_canvas: Tensor) -> Tensor:
        """(N, 4) canvas px -> (N, 4) image px, clipped to the image."""
        signed, shift = self._signed(boxes_canvas)
        return _clipped(self._ordered((boxes_canvas - shift) / signed), self.image_hw)

    def visible_share(self, boxes_image: Tensor) -> Tensor:
        """(N, 4) image px -> (N,) share of each box's area that lies on the canvas, 0 to 1."""
        whole = self._forward(boxes_image)
        return _area(_clipped(whole, self.content_hw)) / _area(whole).clamp(min=1e-9)

    def mirrored(self, grids: Tensor) -> Tensor:
        """(N, rows, columns), what spans boxes in one frame -> the same in the other, either way."""
        flipped = [axis for axis, flip in zip((-1, -2), self.flip, strict=True) if flip]
        return grids.flip(flipped)

    def _forward(self, boxes_image: Tensor) -> Tensor:
        signed, shift = self._signed(boxes_image)
        return self._ordered(boxes_image * signed + shift)

    def _signed(self, like: Tensor) -> tuple[Tensor, Tensor]:
        signs = [-s if f else s for s, f in zip(self.scale, self.flip, strict=True)]
        return like.new_tensor(signs * 2), like.new_tensor([*self.shift, *self.shift])

    def _ordered(self, boxes: Tensor) -> Tensor:
        """A flip swaps left with right, or top with bottom: put the smaller one first again."""
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
