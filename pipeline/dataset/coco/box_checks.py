"""Signs that boxes are written in another way than x, y, width, height in pixels.

In all functions boxes are (N, 4) xyxy image px, as they were understood, and hw is (N, 2), the rows and
columns of each box's image.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ....cache.wording import counted

Floats = npt.NDArray[np.float64]
# Annotators and rounding leave boxes that reach this far beyond their image, px.
SLACK = 1.0
# Corners read as sides leave the image in at least this share of boxes; a few boxes are no evidence.
_CORNERS_BEYOND, _FEW = 0.2, 5


def box_remarks(boxes: Floats, hw: Floats) -> list[str]:
    """Return a sentence for each sign that the boxes are in another format."""
    if seem_fractions(boxes, hw):
        what = "the only box lies" if len(boxes) == 1 else f"all {len(boxes)} boxes lie"
        seem = "it seems" if len(boxes) == 1 else "they seem"
        return [f"{what} within 0..1: {seem} to be fractions of the image, and px are expected"]
    count = int(beyond_image(boxes, hw).sum())
    if not count:
        return []
    as_corners = seem_corners(boxes, hw)
    hint = ": they seem to be x1, y1, x2, y2, and x, y, width, height are expected"
    of_all = f"{count} of {counted(len(boxes), 'box', 'boxes')}"
    return [f"{of_all} reach beyond their image{hint if as_corners else ''}"]


def seem_fractions(boxes: Floats, hw: Floats) -> bool:
    """Return whether all boxes would be fractions of their images."""
    if not len(boxes) or (boxes < 0).any() or (boxes > 2).any() or (hw <= 2).any():
        return False
    sides = boxes[:, 2:] - boxes[:, :2]
    return bool((sides <= 1).all() and (boxes[:, :2] <= 1).all())


def seem_corners(boxes: Floats, hw: Floats) -> bool:
    """Return whether boxes leave their images, and none would if their sides were the second corner."""
    if len(boxes) < _FEW or beyond_image(boxes, hw).mean() < _CORNERS_BEYOND:
        return False
    corners = boxes[:, 2:] - boxes[:, :2]  # what the file has in the places of width and height
    return bool((corners > boxes[:, :2]).all() and (corners <= hw[:, ::-1] + SLACK).all())


def beyond_image(boxes: Floats, hw: Floats) -> npt.NDArray[np.bool_]:
    """Return which boxes reach beyond their image by more than `SLACK`."""
    before = np.any(boxes < -SLACK, axis=1)
    return np.asarray(before | np.any(boxes[:, 2:] > hw[:, ::-1] + SLACK, axis=1))
