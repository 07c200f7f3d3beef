"""Packed outlines of objects as COCO writes them, polygons or run lengths, and their grids over a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ...cache.windows import Window

Floats = npt.NDArray[np.float64]
# The number of points per side at which each cell of a grid is sampled.
_FINER = 4
# Corners are clipped to this distance, beyond which they change nothing within the grid.
_FAR = 1e6


@dataclass(frozen=True, slots=True)
class Outlines:
    """The outlines of N objects.

    values: the corners of each ring as x, y, x, y, ... in image px, or the run lengths of the whole image,
    column by column, which begin with the background. rings: where each ring begins in `values`. objects:
    where each object begins in `rings`. Both have one more entry at their end. runs: whether the only ring
    of an object holds run lengths, (N,).
    """

    values: Floats
    rings: npt.NDArray[np.int64]
    objects: npt.NDArray[np.int64]
    runs: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.runs)

    def part(self, start: int, end: int) -> Outlines:
        """Return the outlines of the objects from `start` up to, but without, `end`."""
        first, last = int(self.objects[start]), int(self.objects[end])
        begin, stop = int(self.rings[first]), int(self.rings[last])
        return Outlines(
            self.values[begin:stop],
            self.rings[first : last + 1] - begin,
            self.objects[start : end + 1] - first,
            self.runs[start:end],
        )

    def within(self, rows: Sequence[int], window: Window, hw: tuple[int, int]) -> Outlines:
        """Return the outlines of some objects in the frame of a window; run lengths are cut to it.

        rows: the positions of the objects. hw: the size of the image.
        """
        shift = np.array([window.x, window.y], dtype=np.float64)
        parts = []
        for k in rows:
            if self.runs[k]:
                parts.append((True, [_cut_runs(self.of(k)[0], window, hw)]))
            else:
                parts.append((False, [(r.reshape(-1, 2) - shift).ravel() for r in self.of(k)]))
        return packed_outlines(parts)

    def of(self, k: int) -> list[Floats]:
        """Return the rings of an object, or its run lengths as the only ring."""
        edges = self.rings[self.objects[k] : self.objects[k + 1] + 1]
        return [self.values[a:b] for a, b in pairwise(edges)]

    def coco(self, k: int, hw: tuple[int, int]) -> Any:
        """Return the COCO "segmentation" of an object in an image of size `hw`."""
        rings = self.of(k)
        if self.runs[k]:
            return {"size": list(hw), "counts": rings[0].astype(np.int64).tolist()}
        return [ring.tolist() for ring in rings]

    def grid(
        self, k: int, box: npt.NDArray[np.floating], hw: tuple[int, int], size: int
    ) -> npt.NDArray[np.float32]:
        """Return the share of each cell of a grid over a box that an object covers, (size, size).

        box: in xyxy image px. hw: the size of the image.
        """
        rings, side = self.of(k), size * _FINER
        if self.runs[k]:
            return _cell_means(_sampled_runs(rings[0], hw, box, side), size)
        drawn = Image.new("L", (side, side))
        pen = ImageDraw.Draw(drawn)
        corner, extent = box[:2], np.maximum(box[2:] - box[:2], 1e-9)
        for ring in rings:
            # The centres of PIL's pixels lie at whole numbers.
            corners = (ring.reshape(-1, 2) - corner) / extent * side - 0.5
            pen.polygon(list(map(tuple, corners.clip(-_FAR, _FAR).tolist())), fill=1)
        return _cell_means(np.asarray(drawn), size)


def _cell_means(
    points: npt.NDArray[np.uint8] | npt.NDArray[np.bool_], size: int
) -> npt.NDArray[np.float32]:
    """Average sampled points of 0 and 1, (size * _FINER, size * _FINER), over each cell: (size, size)."""
    parts = points.reshape(size, _FINER, size, _FINER)
    means: npt.NDArray[np.float32] = parts.mean(axis=(1, 3), dtype=np.float32)
    return means


def packed_outlines(
    objects: Sequence[tuple[bool, Sequence[Sequence[float] | Floats]]],
) -> Outlines:
    """Pack the outlines of objects, each given as (whether it is run lengths, its rings)."""
    rings = [np.asarray(ring, dtype=np.float64) for _, parts in objects for ring in parts]
    return Outlines(
        np.concatenate([np.zeros(0), *rings]),
        np.cumsum([0, *map(len, rings)]),
        np.cumsum([0, *(len(parts) for _, parts in objects)]),
        np.array([runs for runs, _ in objects], dtype=bool),
    )


def joined_outlines(parts: Sequence[Outlines]) -> Outlines:
    """Join the outlines of all parts, one part after the other."""
    return packed_outlines(
        [(bool(part.runs[k]), part.of(k)) for part in parts for k in range(len(part))]
    )


def _cut_runs(runs: Floats, window: Window, hw: tuple[int, int]) -> Floats:
    """Return the run lengths of a window of an image, from those of the image."""
    box = np.array([window.x, window.y, window.x + window.width, window.y + window.height])
    edges = np.cumsum(runs.astype(np.int64))
    columns, rows = np.arange(box[0], box[2]), np.arange(box[1], box[3])
    inside = np.searchsorted(edges, columns[:, None] * hw[0] + rows, side="right") % 2 == 1
    changes = np.flatnonzero(np.diff(inside.ravel(), prepend=False))
    return np.diff(changes, prepend=0, append=inside.size).astype(np.float64)


def _sampled_runs(
    runs: Floats, hw: tuple[int, int], box: npt.NDArray[np.floating], side: int
) -> npt.NDArray[np.bool_]:
    """Return whether the object covers each of `side` x `side` points of a box, (side, side).

    Points beyond the image are not covered. Each point is looked up among the runs, since a bitmap would be
    as large as the image.
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
