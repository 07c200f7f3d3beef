"""--tiles auto: the side and the overlap of tiles, from the sizes of the objects and of the canvas."""

from __future__ import annotations

import math

import numpy as np

from ...cache.errors import InputError
from .annotations import Annotations
from .tiling import Tiling

# The side, px of the canvas, that a tenth of the objects fall short of: four cells of stride 8.
SMALL_SIDE = 32
# The objects that the overlap holds, as a share, and the bounds of the overlap.
_HELD, _MIN_OVERLAP, _MAX_OVERLAP = 0.9, 0.1, 0.5
# Sides are multiples of this, px.
_MULTIPLE = 32


def chosen_tiling(
    annotations: Annotations, canvas: int, overlap: float | None, whole: bool
) -> Tiling:
    """Return the tiling that suits the objects. canvas: the shorter side of the canvas, px.

    On a tile a tenth of the objects are shorter than SMALL_SIDE on the canvas; it is at least as large as the
    canvas and as two objects of which only a twentieth are longer. The overlap holds nine in ten objects.
    Raises InputError where there is no object.
    """
    packed = annotations.packed
    boxes = packed.boxes[~packed.crowd]
    if not len(boxes):
        raise InputError("--tiles auto: there is no object to choose from; give the side in px")
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    tenth, held, long = np.quantile(sides, [0.1, _HELD, 0.95])
    side = max(tenth * canvas / SMALL_SIDE, 2 * long, canvas)
    side = math.ceil(side / _MULTIPLE - 1e-6) * _MULTIPLE
    if overlap is None:
        share = math.ceil(100 * held / side) / 100
        overlap = min(max(share, _MIN_OVERLAP), _MAX_OVERLAP)
    return Tiling(side, overlap, whole)
