"""The one canvas of an exported detector, and where an image lies on it."""

from __future__ import annotations

from dataclasses import dataclass

from ...cache.placement import Placement
from ..dataset.images.views import ResizeRule

HW = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FixedCanvas:
    """A canvas of one size that every image is put on, at the scale of the run's rule where it fits.

    Then the content is that of `fdet predict`. An image that would be larger than the canvas is made smaller.
    """

    rule: ResizeRule
    canvas_hw: HW

    def place(self, image_hw: HW) -> Placement:
        """Return where an image of this size lies."""
        content = self.rule.content_hw(image_hw)
        if any(c > k for c, k in zip(content, self.canvas_hw, strict=True)):
            factor = min(k / side for k, side in zip(self.canvas_hw, image_hw, strict=True))
            factor = min(factor, self.rule.factor(image_hw))
            content = _scaled(image_hw, factor)
        scale = content[1] / image_hw[1], content[0] / image_hw[0]
        return Placement(image_hw, self.canvas_hw, content, scale, (0.0, 0.0))


def _scaled(image_hw: HW, factor: float) -> HW:
    rows, columns = (max(1, round(side * factor)) for side in image_hw)
    return rows, columns
