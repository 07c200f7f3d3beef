"""The boxes of COCO JSON: which of them show something, and the box around an outline."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .segmentation import read_segmentation


def useless(box: tuple[float, float, float, float] | None, hw: tuple[int, int]) -> str | None:
    """Return why a box [x, y, w, h] shows nothing of an image of that size; None where it shows something."""
    if box is None:
        return "without a box"
    x, y, w, h = box
    if w < 0 or h < 0:
        return "of negative size"
    if x + w <= x or y + h <= y:  # This also holds where rounding loses w or h.
        return "of zero size"
    rows, columns = hw
    outside = x >= columns or y >= rows or x + w <= 0 or y + h <= 0
    return "outside the image" if outside else None


def box_around_outline(
    segmentation: object, hw: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """Return the box (x, y, w, h) around an outline; None where there is none that can be read."""
    try:
        in_runs, rings = read_segmentation(segmentation, hw)
    except ValueError:
        return None
    if in_runs:
        return _around_runs(np.array(rings[0], dtype=np.int64), hw[0])
    corners = np.concatenate([np.reshape(ring, (-1, 2)) for ring in rings])
    (x, y), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    return (float(x), float(y), float(right - x), float(bottom - y))


def _around_runs(
    runs: npt.NDArray[np.int64], rows: int
) -> tuple[float, float, float, float] | None:
    """Return the box around the foreground of run lengths, column by column; None without foreground."""
    ends = np.cumsum(runs)
    first, last = (ends - runs)[1::2], ends[1::2] - 1
    first, last = first[last >= first], last[last >= first]
    if not len(first):
        return None
    left, right = int(first[0]) // rows, int(last[-1]) // rows
    within = first // rows == last // rows
    top = int((first % rows).min()) if within.all() else 0
    bottom = int((last % rows).max()) if within.all() else rows - 1
    return (float(left), float(top), float(right - left + 1), float(bottom - top + 1))


def is_number(value: object) -> bool:
    """Return whether a value is a finite number of a size that an image could need (below 2**53)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
