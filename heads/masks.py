"""Masks as grids over boxes: resampled for other boxes, carried to the canvas, pasted into the image.

A mask is a grid of cells that spans its box, in whichever frame, and holds for each cell the share of it
that the object covers. So its cost does not depend on the size of the image, and it moves with its box.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..cache.placement import Placement
from .types import Detections


def resampled(masks: Tensor, boxes: Tensor, regions: Tensor, of: Tensor, size: int) -> Tensor:
    """Resample masks (N, h, w) over boxes (N, 4) to (P, size, size) over regions (P, 4) of the same frame.

    of: (P,), the index of the mask that each region is cut from. A cell is the mean of the area that it
    covers; beyond its box a mask is zero. The result is float32, under autocast too.
    """
    box = boxes[of]
    corner, sides = box[:, :2].repeat(1, 2), (box[:, 2:] - box[:, :2]).repeat(1, 2)
    left, top, right, bottom = ((regions - corner) / sides).unbind(dim=1)
    rows, columns = masks.shape[-2:]
    with torch.autocast(masks.device.type, enabled=False):
        down, across = _shares(top, bottom, rows, size), _shares(left, right, columns, size)
        return down @ masks[of].float() @ across.mT


def _shares(start: Tensor, end: Tensor, cells: int, size: int) -> Tensor:
    """Return (P, size, cells) float32: the share of each part of start..end that lies in each cell of 0..1.

    start, end: (P,) each, divided into `size` equal parts. The range 0..1 is divided into `cells` equal
    cells.
    """
    steps = torch.arange(size + 1, device=start.device) / size
    edges = (start[:, None] + (end - start)[:, None] * steps) * cells
    low, high = edges[:, :-1, None], edges[:, 1:, None]
    cell = torch.arange(cells, device=start.device)
    shared = (high.minimum(cell + 1) - low.maximum(cell)).clamp(min=0)
    return (shared / (high - low).clamp(min=1e-9)).float()


def on_canvas(
    masks: Tensor, boxes_image: Tensor, boxes_canvas: Tensor, placement: Placement, size: int
) -> Tensor:
    """Resample masks (N, h, w) over boxes_image to (N, size, size) over boxes_canvas, as in `Targets`.

    `placement` made boxes_canvas from boxes_image and clipped them. A bitmap of the whole image is a mask
    over the box that spans it.
    """
    regions = placement.to_image(boxes_canvas)
    each = torch.arange(len(masks), device=masks.device)
    return placement.mirrored(resampled(masks, boxes_image, regions, each, size))


def paste_masks(
    detections: Detections,
    image_hw: tuple[int, int],
    threshold: float = 0.5,
    chunk_bytes: int = 2**28,
) -> Tensor:
    """Return (N, H, W) bool, in the frame of the boxes: the pixels that each mask covers.

    A pixel is covered where the mask, interpolated between the centres of its cells and towards zero
    outside, reaches the threshold at the pixel's centre. chunk_bytes: the approximate memory in use in
    addition to the result. A part of the detections gives that part of the result. Raises ValueError where
    the detections have no masks.
    """
    if detections.masks is None:
        raise ValueError("expected detections with masks, got none; train with head.masks=true")
    rows, columns = image_hw
    pasted = torch.empty(
        (len(detections), rows, columns), dtype=torch.bool, device=detections.boxes.device
    )
    cells = detections.masks.shape[-1]
    count = max(1, chunk_bytes // (4 * (rows * columns + (2 * rows + columns) * cells)))
    for k in range(0, len(detections), count):
        some = slice(k, k + count)
        left, top, right, bottom = detections.boxes[some].unbind(dim=1)
        down = _interpolated(top, bottom, cells, rows)
        across = _interpolated(left, right, cells, columns)
        pasted[some] = down @ detections.masks[some].float() @ across.mT >= threshold
    return pasted


def _interpolated(start: Tensor, end: Tensor, cells: int, size: int) -> Tensor:
    """Return (N, size, cells): the weight of each cell at the centre of each of `size` pixels.

    start, end: (N,) each, the range that the cells span.
    """
    centres = torch.arange(size, device=start.device) + 0.5
    sides = (end - start).clamp(min=1e-6)[:, None]
    at = (centres - start[:, None]) / sides * cells - 0.5
    return (1 - (at[..., None] - torch.arange(cells, device=start.device)).abs()).clamp(min=0)
