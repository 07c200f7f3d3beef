"""What chance does to figures: the standard error of an AP, and changes that are more than scatter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist, fmean, median

LEVEL = 0.95
# The level of a test for a trend, and the standard errors of a fall. A learning curve is searched for a rise
# and two kinds of fall, and one of them shall be found in at most one of twenty curves that only scatter.
CHANGE_LEVEL, FALL = 0.99, 6.0
# The standard deviation of normal noise, as a multiple of the median of |a - 2 b + c| over three neighbours.
MEDIAN_BEND = 1 / (math.sqrt(6) * NormalDist().inv_cdf(0.75))
# Objects of one image are found or missed together, so more of them count no more than so many.
OBJECTS_PER_IMAGE = 4
# Neighbouring evaluations are alike. Means of neighbours are less so; a trend is searched for in at most so
# many, and a fall in at most so many.
BLOCKS, FALL_BLOCKS = 5, 10


def standard_error(share: float, images: int, objects: int | None = None) -> float:
    """Return an upper estimate of the standard error of an AP, or of a share of one, 0 to 1.

    The mean of n independent values from 0 to 1 has a standard error of at most sqrt(p (1 - p) / n). The APs
    of trainings that differed in the seed alone had standard deviations up to that (docs/training.md).
    """
    p = min(1.0, max(0.0, share))
    return math.sqrt(p * (1 - p) / independent(images, objects))


def lead_error(first: float, second: float, images: int, objects: int | None = None) -> float:
    """Return the standard error of the difference of two shares of the objects that exclude each other."""
    both, lead = max(0.0, first) + max(0.0, second), first - second
    return math.sqrt(max(0.0, both - lead * lead) / independent(images, objects))


def independent(images: int, objects: int | None) -> int:
    """Return how many independent findings an evaluation stands for, at least 1.

    They are the objects, but at most OBJECTS_PER_IMAGE for each image, and the images where the number of
    objects is not known.
    """
    return max(1, images if objects is None else min(objects, OBJECTS_PER_IMAGE * images))


def trend(values: Sequence[float]) -> float:
    """Return the change from the first to the last value of a straight line through at least four values.

    It is 0 where the line's slope may be chance: by Student's t of the residuals, at CHANGE_LEVEL.
    """
    blocks = _blocks(values, BLOCKS)
    places = [k - (len(blocks) - 1) / 2 for k in range(len(blocks))]
    spread = sum(x * x for x in places)
    slope = sum(x * y for x, y in zip(places, blocks, strict=True)) / spread
    mean, freedom = fmean(blocks), len(blocks) - 2
    residuals = sum((y - mean - slope * x) ** 2 for x, y in zip(places, blocks, strict=True))
    error = math.sqrt(residuals / freedom / spread)
    if abs(slope) <= student(freedom, CHANGE_LEVEL) * error:
        return 0.0
    return slope * len(blocks) / len(values) * (len(values) - 1)


def fall(values: Sequence[float]) -> float:
    """Return how much lower the last quarter of at least six values is than the best quarter before it.

    It is 0 where that may be chance, which the choice of the best quarter favours: unless it is FALL times
    the standard error. That comes from the median bend of the curve, which a fall hardly changes, be it
    sudden or steady.
    """
    blocks = _blocks(values, FALL_BLOCKS)
    size = math.ceil(len(blocks) / 4)
    means = [fmean(blocks[k : k + size]) for k in range(len(blocks) - size + 1)]
    later = blocks[len(blocks) // 4 :]
    bends = [abs(a - 2 * b + c) for a, b, c in zip(later, later[1:], later[2:], strict=False)]
    error = MEDIAN_BEND * median(bends) * math.sqrt(2 / size)
    fallen = max(means[:-size]) - means[-1]
    return fallen if fallen > FALL * error else 0.0


def _blocks(values: Sequence[float], most: int) -> list[float]:
    """Return the values, or means of neighbours where there are more than `most`."""
    count = min(most, len(values))
    ends = [round(k * len(values) / count) for k in range(count + 1)]
    return [fmean(values[start:end]) for start, end in pairwise(ends)]


def student(freedom: int, level: float = LEVEL) -> float:
    """Return the two-sided quantile of Student's t at a level.

    It is exact for 1 and 2 degrees of freedom. Beyond them it comes from the expansion of Fisher and
    Cornish (1960), which at a level of 0.95 is accurate to 0.2 % at 3 and better above, at 0.99 to 1 %.
    """
    tail = (1 + level) / 2
    if freedom == 1:
        return math.tan(math.pi * (tail - 0.5))
    if freedom == 2:
        a = 2 * tail - 1
        return a * math.sqrt(2 / (1 - a * a))
    z, v = NormalDist().inv_cdf(tail), freedom
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )
