"""Outlines of objects as COCO writes them, polygons and run lengths, packed; and their grids over a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Floats = npt.NDArray[np.float64]
# Each cell of a grid is looked at in so many places a side.
_FINER = 4
# Beyond these a corner changes nothing within the grid.
_FAR = 1e6


@dataclass(frozen=True, slots=True)
class Outlines:
    """Of N objects. values: x, y, x, y, ... of the corners of each ring, image px; or run lengths of the
    whole image, column after column, which begin with the background. rings: where each ring begins in
    `values`, objects: where each object begins in `rings`, one more entry each. runs (N,): whether an
    object's one ring holds run lengths.
    """

    values: Floats
    rings: npt.NDArray[np.int64]
    objects: npt.NDArray[np.int64]
    runs: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.runs)

    def part(self, start: int, end: int) -> Outlines:
        """Of the objects from start on, before end."""
        first, last = int(self.objects[start]), int(self.objects[end])
        begin, stop = int(self.rings[first]), int(self.rings[last])
        return Outlines(
            self.values[begin:stop],
            self.rings[first : last + 1] - begin,
            self.objects[start : end + 1] - first,
            self.runs[start:end],
        )

    def of(self, k: int) -> list[Floats]:
        """The rings of an object, or its run lengths."""
        edges = self.rings[self.objects[k] : self.objects[k + 1] + 1]
        return [self.values[a:b] for a, b in pairwise(edges)]

    def coco(self, k: int, hw: tuple[int, int]) -> Any:
        """An object's "segmentation", in an image of that size."""
        rings = self.of(k)
        if self.runs[k]:
            return {"size": list(hw), "counts": rings[0].astype(np.int64).tolist()}
        return [ring.tolist() for ring in rings]

    def grid(
        self, k: int, box: npt.NDArray[np.floating], hw: tuple[int, int], size: int
    ) -> npt.NDArray[np.float32]:
        """(size, size): which share of each cell over a box, xyxy image px, the object covers."""
        rings, side = self.of(k), size * _FINER
        if self.runs[k]:
            return _cells(_looked_up(rings[0], hw, box, side), size)
        drawn = Image.new("L", (side, side))
        pen = ImageDraw.Draw(drawn)
        corner, extent = box[:2], np.maximum(box[2:] - box[:2], 1e-9)
        for ring in rings:
            # PIL's pixels have their centres at whole numbers.
            corners = (ring.reshape(-1, 2) - corner) / extent * side - 0.5
            pen.polygon(list(map(tuple, corners.clip(-_FAR, _FAR).tolist())), fill=1)
        return _cells(np.asarray(drawn), size)


def _cells(
    places: npt.NDArray[np.uint8] | npt.NDArray[np.bool_], size: int
) -> npt.NDArray[np.float32]:
    """(size * finer, size * finer) of 0 and 1 -> (size, size), their means."""
    parts = places.reshape(size, _FINER, size, _FINER)
    means: npt.NDArray[np.float32] = parts.mean(axis=(1, 3), dtype=np.float32)
    return means


def packed_outlines(
    objects: Sequence[tuple[bool, Sequence[Sequence[float] | Floats]]],
) -> Outlines:
    """From (whether they are run lengths, rings) of each object."""
    rings = [np.asarray(ring, dtype=np.float64) for _, parts in objects for ring in parts]
    return Outlines(
        np.concatenate([np.zeros(0), *rings]),
        np.cumsum([0, *map(len, rings)]),
        np.cumsum([0, *(len(parts) for _, parts in objects)]),
        np.array([runs for runs, _ in objects], dtype=bool),
    )


def joined_outlines(parts: Sequence[Outlines]) -> Outlines:
    """One after the other."""
    return packed_outlines(
        [(bool(part.runs[k]), part.of(k)) for part in parts for k in range(len(part))]
    )


def _looked_up(
    runs: Floats, hw: tuple[int, int], box: npt.NDArray[np.floating], side: int
) -> npt.NDArray[np.bool_]:
    """(side, side): the pixels below that many places a side of a box; beyond the image nothing.

    Each is found among the runs: the bitmap would be as large as the image.
    """
    steps = (np.arange(side) + 0.5) / side
    columns = np.floor(box[0] + (box[2] - box[0]) * steps).astype(np.int64)
    rows = np.floor(box[1] + (box[3] - box[1]) * steps).astype(np.int64)
    height, width = hw
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    ends = np.cumsum(runs.astype(np.int64))
    run = np.searchsorted(ends, columns * height + rows[:, None], side="right")
    looked: npt.NDArray[np.bool_] = inside & (run % 2 == 1)
    return looked
