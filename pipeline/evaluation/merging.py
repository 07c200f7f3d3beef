"""What is found in the tiles of an image, merged in its frame: an object that several tiles show is one find.

Two tiles show the same object where their boxes agree in the pixels that both tiles show. What a tile cuts
off is completed by its neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ...cache.windows import Window, split_name
from ...heads.masks import resampled
from ...heads.types import Detections
from ..dataset.images.decoding import load_window
from ..dataset.images.photographs import Photograph
from ..dataset.tiling import Tiling, tiles_by_image
from ..sources.data import Data
from .matching import overlaps, shares_within

# The intersection over union, in the pixels that two tiles share, from which on they show the same object.
SAME = 0.5
# The share of a box cut by its tile that lies in a box of another tile, from which on it is a part of that.
PART = 0.7
# A box ends at the border of its tile where it comes as near as this share of the tile's side.
_NEAR = 0.02

Find = Callable[[Image.Image], Detections]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def in_whole_images(
    data: Data, found: Mapping[int, Detections], *, agnostic: bool
) -> dict[int, Detections]:
    """Return what was found in the images of data, from what was found in each sample, by id.

    Where the samples are tiles, the images are those of which all tiles were looked at. agnostic: whether
    boxes of different classes may be one object, as with head.nms=agnostic.
    """
    if data.whole is None:
        return dict(found)
    tiles, merged_ = tiles_by_image(data.header.layout.images), {}
    for image_id in data.truth_ids:
        hw = data.whole.image(image_id).hw
        parts = [(split_name(t.file_name)[1], found[t.id]) for t in tiles[image_id]]
        merged_[image_id] = merged(parts, hw, agnostic=agnostic)
    return merged_


def found_in_tiles(
    photograph: Photograph, tiling: Tiling | None, find: Find, *, agnostic: bool
) -> Detections:
    """Return what `find` finds in a photograph, tile by tile, merged; None as tiling: in all of it at once.

    Raises ImageError, and what `find` raises.
    """
    windows: list[Window | None] = [] if tiling is None else [*tiling.windows(photograph.hw)]
    if not windows or (tiling is not None and tiling.whole):
        windows = [None, *windows]
    rows, columns = photograph.hw
    every = Window(0, 0, columns, rows)
    parts = [(w, find(load_window(photograph, w or every))) for w in windows]
    return merged(parts, photograph.hw, agnostic=agnostic)


def merged(
    parts: Sequence[tuple[Window | None, Detections]], hw: tuple[int, int], *, agnostic: bool
) -> Detections:
    """Return what was found in an image, best first, in its frame.

    parts: the tiles, None for the whole image, and what was found in each, in its own frame. hw: the size of
    the image in px.
    """
    if len(parts) == 1 and parts[0][0] is None:
        return parts[0][1]
    windows = [window or Window(0, 0, hw[1], hw[0]) for window, _ in parts]
    found = _together(windows, [d for _, d in parts])
    if not len(found):
        return found
    tiles = np.repeat(np.arange(len(parts)), [len(d) for _, d in parts])
    corners = np.array([[w.x, w.y, w.x + w.width, w.y + w.height] for w in windows], np.float64)
    boxes = found.boxes.double().numpy()
    labels = np.zeros(len(found), np.int64) if agnostic else found.labels.numpy()
    finds = _Finds(boxes, labels, tiles, corners, _cut_sides(boxes, corners[tiles], hw))
    return _fused(found, finds, _groups(finds))


def _together(windows: Sequence[Window], parts: Sequence[Detections]) -> Detections:
    """Return the detections of all tiles, one tile after the other, in the frame of the image."""
    shifts = [d.boxes.new_tensor([w.x, w.y, w.x, w.y]) for w, d in zip(windows, parts, strict=True)]
    masks = [d.masks for d in parts if d.masks is not None]
    return Detections(
        torch.cat([d.boxes + shift for d, shift in zip(parts, shifts, strict=True)]),
        torch.cat([d.scores for d in parts]),
        torch.cat([d.labels for d in parts]),
        torch.cat(masks) if masks else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Finds:
    """The N detections in the T tiles of an image.

    boxes: (N, 4) xyxy image px. labels: (N,), all 0 where classes are not told apart. tiles: (N,), the tile
    of each. corners: (T, 4), the tiles xyxy. cut: (N, 4) bool, the sides at which the tile ends before the
    image does.
    """

    boxes: Floats
    labels: Ints
    tiles: Ints
    corners: Floats
    cut: Bools


def _cut_sides(boxes: Floats, corners: Floats, hw: tuple[int, int]) -> Bools:
    sides = (corners[:, 2:] - corners[:, :2])[:, [0, 1, 0, 1]]
    inner = corners != np.array([0, 0, hw[1], hw[0]], np.float64)
    return np.asarray(inner & (np.abs(boxes - corners) <= np.maximum(2, _NEAR * sides)))


def _groups(finds: _Finds) -> list[list[int]]:
    """Return the detections that show one object, for each object."""
    same, part = _pairs(finds)
    groups = [[k] for k in range(len(finds.tiles))]
    for a, b in same:
        # Two detections in one tile are two objects: that has its own NMS.
        if not {*finds.tiles[groups[a]]} & {*finds.tiles[groups[b]]}:
            _join(groups, a, b)
    for a, b in part:
        # What another tile shows whole is no part.
        if groups[a] is not groups[b] and finds.cut[groups[b]].any(axis=1).all():
            _join(groups, a, b)
    return [list(k) for k in {id(group): group for group in groups}.values()]


def _join(groups: list[list[int]], a: int, b: int) -> None:
    """Make one group of those of two detections."""
    groups[a].extend(groups[b])
    for k in groups[b]:
        groups[k] = groups[a]


def _pairs(finds: _Finds) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the pairs of detections that show the same object, and those whose second is part of the first.

    Those that agree most come first.
    """
    members = [np.flatnonzero(finds.tiles == t) for t in range(len(finds.corners))]
    same: list[tuple[float, int, int]] = []
    part: list[tuple[float, int, int]] = []
    for s, t in _touching(finds.corners):
        a, b = members[s], members[t]
        low = np.maximum(finds.corners[s], finds.corners[t])[:2]
        high = np.minimum(finds.corners[s], finds.corners[t])[2:]
        ours, theirs = finds.boxes[a], finds.boxes[b]
        alike = finds.labels[a][:, None] == finds.labels[b][None]
        shared = (np.clip(v, np.tile(low, 2), np.tile(high, 2)) for v in (ours, theirs))
        same += _above(overlaps(*shared) * alike, SAME, a, b)
        parts_of_ours: Bools = np.asarray(finds.cut[b].any(axis=1))
        within = shares_within(theirs, ours).T * alike * parts_of_ours
        part += _above(within, PART, a, b)
        parts_of_theirs: Bools = np.asarray(finds.cut[a].any(axis=1))
        within = shares_within(ours, theirs).T * alike.T * parts_of_theirs
        part += _above(within, PART, b, a)
    return _best_first(same), _best_first(part)


def _touching(corners: Floats) -> Iterator[tuple[int, int]]:
    """Yield the pairs of tiles that have pixels in common."""
    for s in range(len(corners)):
        low = np.maximum(corners[s, :2], corners[s + 1 :, :2])
        high = np.minimum(corners[s, 2:], corners[s + 1 :, 2:])
        for t in np.flatnonzero((low < high).all(axis=1)):
            yield s, s + 1 + int(t)


def _above(values: Floats, limit: float, a: Ints, b: Ints) -> list[tuple[float, int, int]]:
    return [(float(values[i, j]), int(a[i]), int(b[j])) for i, j in np.argwhere(values >= limit)]


def _best_first(pairs: Sequence[tuple[float, int, int]]) -> list[tuple[int, int]]:
    return [(a, b) for _, a, b in sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))]


def _fused(found: Detections, finds: _Finds, groups: Sequence[Sequence[int]]) -> Detections:
    """Return the best detection of each group; what its tile cuts off is taken from the others."""
    scores = found.scores.numpy()
    best = np.array([max(group, key=lambda k: (scores[k], -k)) for group in groups])
    boxes = finds.boxes[best]
    for row, (k, group) in enumerate(zip(best, groups, strict=True)):
        of_group = finds.boxes[group]
        outer = np.concatenate([of_group[:, :2].min(axis=0), of_group[:, 2:].max(axis=0)])
        boxes[row] = np.where(finds.cut[k], outer, boxes[row])
    order = np.argsort(-scores[best], kind="stable")
    kept = torch.from_numpy(best[order])
    placed = torch.from_numpy(boxes[order]).to(found.boxes.dtype)
    masks = None
    if found.masks is not None:
        pairs = zip(placed, (groups[k] for k in order), kept.tolist(), strict=True)
        masks = torch.stack([_mask(found, box, group, k) for box, group, k in pairs])
    return Detections(placed, found.scores[kept], found.labels[kept], masks)


def _mask(found: Detections, box: torch.Tensor, group: Sequence[int], best: int) -> torch.Tensor:
    """Return the mask of a group over its box: that of the best, or of all where the box has grown."""
    assert found.masks is not None
    if len(group) == 1 or torch.equal(box, found.boxes[best]):
        return found.masks[best]
    members = torch.tensor(list(group))
    regions, each = box.expand(len(members), 4), torch.arange(len(members))
    size = found.masks.shape[-1]
    parts = resampled(found.masks[members], found.boxes[members], regions, each, size)
    return parts.amax(dim=0).to(found.masks.dtype)
