"""The boxes of one image that a refiner learns from, each with the box of its object.

The frozen detector has learnt from the same image, so what it finds there is better than what it finds
elsewhere. Copies of the objects whose sides are moved at random have the errors that it makes elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from torchvision.ops import box_iou

from ..assign import BACKGROUND
from ..sampling import some
from ..types import Detections, Targets

# The number of boxes per image, and the share of detections among them.
SAMPLED, FOUND = 64, 0.5
# The overlap with an object of its class from which a detection learns that object.
IOU_FOREGROUND = 0.5
# The maximum error of a side of a copy, in widths or heights. If all sides are moved out by it, IoU is 0.5.
JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Samples:
    """Boxes (N, 4) of an image, and the boxes (N, 4) of their objects, canvas px."""

    boxes: Tensor
    wanted: Tensor


def samples_of(
    found: Detections, targets: Targets, content_hw: tuple[int, int], seed: int
) -> Samples:
    """Return SAMPLED boxes of an image, or none where it has no objects.

    found: the detections in canvas px. content_hw: the size of the part of the canvas that shows the image.
    seed: that of the image, from which all is drawn.
    """
    if not len(targets.labels):
        nothing = targets.boxes.float()
        return Samples(nothing, nothing)
    generator = Random(f"refiner {seed}")
    matched = objects_of(found, targets)
    chosen = some(torch.where(matched >= 0)[0], int(SAMPLED * FOUND), generator)
    rows = [generator.randrange(len(targets.labels)) for _ in range(SAMPLED - len(chosen))]
    copied = targets.boxes[torch.tensor(rows, device=targets.boxes.device)].float()
    boxes = torch.cat([found.boxes[chosen], jittered(copied, content_hw, generator)])
    return Samples(boxes, torch.cat([targets.boxes[matched[chosen]].float(), copied]))


def objects_of(found: Detections, targets: Targets) -> Tensor:
    """Return (N,): for each detection the object of its class that it overlaps most, or BACKGROUND.

    An overlap below IOU_FOREGROUND is background. There must be an object.
    """
    iou: Tensor = box_iou(targets.boxes.float(), found.boxes)
    same = targets.labels[:, None] == found.labels
    best, row = iou.where(same, 0.0).max(dim=0)
    return row.where(best >= IOU_FOREGROUND, BACKGROUND)


def jittered(boxes: Tensor, content_hw: tuple[int, int], generator: Random) -> Tensor:
    """Return boxes (N, 4) with each side moved by at most JITTER of the box's size, within the content."""
    draws = [generator.uniform(-JITTER, JITTER) for _ in range(boxes.numel())]
    sizes = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    moved = boxes + sizes * boxes.new_tensor(draws).view_as(boxes)
    return within(moved, content_hw)


def within(boxes: Tensor, hw: tuple[int, int]) -> Tensor:
    """Clip boxes (N, 4) to the first rows and columns of their canvas."""
    return boxes.clamp(min=0).minimum(boxes.new_tensor([hw[1], hw[0]] * 2))
