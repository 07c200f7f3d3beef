"""The size of the input: the images' own, within what a machine can do, and larger for small objects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...dataset.annotations import Annotations

# The greatest shorter side, px, that is chosen on a processor and on an accelerator, and the smallest.
PROCESSOR, ACCELERATOR, SMALLEST = 480, 800, 128
# The longer side in shorter sides: at least 4:3, at most that of 800 and 1333, which COCO's detectors have.
MIN_ASPECT, MAX_ASPECT = 4 / 3, 1333 / 800
# Every side is a multiple of the coarsest usual stride.
MULTIPLE = 32
# Where a tenth of the objects have a side below this, px on the canvas, the canvas is enlarged by at most
# this factor, and never beyond the images' own size.
SMALL_SIDE, MAX_FACTOR = 16.0, 2.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Canvas:
    """The size of the input: a square of side `long`, or a shorter side and the limit of the longer one."""

    short: int
    long: int
    square: bool = False

    @property
    def words(self) -> list[str]:
        """The options of `fdet extract` for it."""
        if self.square:
            return ["--size", str(self.long)]
        return ["--short", str(self.short), "--long", str(self.long)]

    @property
    def area(self) -> int:
        return self.short * self.long

    def scaled(self, factor: float) -> Canvas:
        """Return a canvas with sides that are smaller by a factor, in multiples of MULTIPLE."""
        if factor == 1.0:
            return self
        short = _multiple(self.short * factor)
        return Canvas(short, _multiple_above(short * self.long / self.short), self.square)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes in a data set. hw: (N, 2) rows and columns of the images, px. sides: (M,) the square roots of
    the areas of the objects' boxes, px. images: (M,) the image of each object.
    """

    hw: Floats
    sides: Floats
    images: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CanvasChoice:
    """A canvas and what it follows from.

    median: the median shorter side of the images, px. tenth: the side that a tenth of the objects fall short
    of, in px of the canvas before it was enlarged; None without objects. enlarged: whether it was.
    """

    canvas: Canvas
    median: float
    tenth: float | None
    enlarged: bool


def sizes_of(annotations: Annotations) -> Sizes:
    """Return the sizes of the images of a data set, and of its objects without crowds."""
    packed = annotations.packed
    counts = np.diff(annotations.starts)
    images = np.repeat(np.arange(len(annotations.images)), counts)[~packed.crowd]
    boxes = packed.boxes[~packed.crowd]
    sides = np.sqrt(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1))
    hw = np.array([image.hw for image in annotations.images], dtype=np.float64)
    return Sizes(hw, sides, images)


def choose_canvas(sizes: Sizes, limit: int) -> CanvasChoice:
    """Choose the canvas for a data set. limit: PROCESSOR or ACCELERATOR."""
    median = float(np.median(sizes.hw.min(axis=1)))
    aspect = float(np.quantile(sizes.hw.max(axis=1) / sizes.hw.min(axis=1), 0.9))
    base = _canvas(min(max(median, SMALLEST), limit), aspect)
    tenth = small_side(sizes, base)
    if tenth is None or tenth >= SMALL_SIDE:
        return CanvasChoice(base, median, tenth, enlarged=False)
    factor = min(MAX_FACTOR, SMALL_SIDE / max(tenth, 1e-9), median / base.short)
    larger = _canvas(base.short * factor, aspect)
    if larger.short <= base.short:
        return CanvasChoice(base, median, tenth, enlarged=False)
    return CanvasChoice(larger, median, tenth, enlarged=True)


def small_side(sizes: Sizes, canvas: Canvas) -> float | None:
    """Return the side that a tenth of the objects fall short of, px on the canvas; None without objects."""
    if not len(sizes.sides):
        return None
    short, long = sizes.hw.min(axis=1), sizes.hw.max(axis=1)
    factors = np.minimum(canvas.short / short, canvas.long / long)
    return float(np.quantile(sizes.sides * factors[sizes.images], 0.1))


def _canvas(short: float, aspect: float) -> Canvas:
    side = _multiple(short)
    longer = side * min(max(aspect, MIN_ASPECT), MAX_ASPECT)
    return Canvas(side, _multiple_above(longer))


def _multiple_above(side: float) -> int:
    return math.ceil(side / MULTIPLE - 1e-6) * MULTIPLE


def _multiple(side: float) -> int:
    return max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE)
