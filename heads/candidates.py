"""Detections from a score and a box of every location and class: threshold, best of each level, NMS.

`suppressed` is the NMS of all heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

from ..cache.placement import Placement
from .family import NMSSettings
from .types import Detections

# The maximum number of candidates of a level and image, before NMS.
BEST_OF_LEVEL = 1000


def found_in_images(
    scores: Tensor,
    counts: Sequence[int],
    boxes_of: Callable[[Tensor, Tensor], Tensor],
    placements: Sequence[Placement],
    settings: NMSSettings,
) -> list[Detections]:
    """Return the detections of each image from scores (B, A, K).

    Of the scores above the threshold the 1000 best of each level are kept, and of these the settings'
    number of the best after NMS, in canvas px. counts: the number of locations of each level.
    boxes_of: a function from the indices of images (N,) and of locations (N,) to boxes (N, 4) canvas px,
    which are then clipped to the part that shows the image. The result is the same as that of torchvision's
    RetinaNet and FCOS, which work level by level; here the device is waited for three times per image,
    including NMS.
    """
    classes = scores.shape[2]
    # One image at a time: CUDA counts no more than 2^31 scores.
    chosen = [_best(x.flatten(), counts, classes, settings.score_threshold) for x in scores]
    sizes = [len(x) for x in chosen]
    indices = torch.cat(chosen)
    image = torch.cat([torch.full_like(x, k) for k, x in enumerate(chosen)])
    location, label = indices.div(classes, rounding_mode="floor"), indices % classes
    boxes = _clipped(boxes_of(image, location), placements, image)
    found = Detections(boxes, scores[image, location, label], label)
    ends = list(accumulate(sizes))
    return [
        suppressed(found[end - size : end], settings) for size, end in zip(sizes, ends, strict=True)
    ]


def _best(scores: Tensor, counts: Sequence[int], classes: int, threshold: float) -> Tensor:
    """Return indices into an image's scores (A · K,): the best above the threshold, level after level."""
    above = torch.where(scores > threshold)[0]
    ends = torch.tensor([end * classes for end in accumulate(counts)], device=above.device)
    levels = pairwise([0, *torch.searchsorted(above, ends).tolist()])
    return torch.cat([_top(above[a:b], scores) for a, b in levels])


def _top(indices: Tensor, scores: Tensor) -> Tensor:
    if len(indices) <= BEST_OF_LEVEL:
        return indices
    return indices[scores[indices].topk(BEST_OF_LEVEL).indices]


def _clipped(boxes: Tensor, placements: Sequence[Placement], image: Tensor) -> Tensor:
    sizes = [(p.content_hw[1], p.content_hw[0]) * 2 for p in placements]
    return boxes.clamp(min=0).minimum(boxes.new_tensor(sizes)[image])


def suppressed(found: Detections, settings: NMSSettings) -> Detections:
    """Return the best detections of an image after NMS, best first.

    Boxes are compared within their class or, with head.nms=agnostic, across all classes.
    """
    if settings.nms == "agnostic":
        kept = nms(found.boxes, found.scores, settings.nms_iou)
    else:
        kept = batched_nms(found.boxes, found.scores, found.labels, settings.nms_iou)
    return found[kept[: settings.max_detections]]
