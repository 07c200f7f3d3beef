"""From a score and a box of every place and class to what is found: threshold, best of levels, NMS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from ..cache.placement import Placement
from .family import HeadSettings
from .types import Detections

# Of a level and image, before NMS.
BEST_OF_LEVEL = 1000


def found_in_images(
    scores: Tensor,
    counts: Sequence[int],
    boxes_of: Callable[[Tensor, Tensor], Tensor],
    placements: Sequence[Placement],
    settings: HeadSettings,
) -> list[Detections]:
    """What remains of scores (B, A, K) above the threshold: of each level, `counts` places, the
    1000 best; of those the settings' number of the best after NMS in each class, canvas px.

    boxes_of: (indices of images (N,), of places (N,)) -> (N, 4) canvas px; they are clipped to what
    shows the image. The same as torchvision's RetinaNet and FCOS do for each image and level; here the
    device is waited for twice, and then once an image by NMS.
    """
    images, places, classes = scores.shape
    chosen = _best(scores, counts, settings.score_threshold)
    indices = torch.cat(chosen)
    image = indices.div(places * classes, rounding_mode="floor")
    place = indices.div(classes, rounding_mode="floor") % places
    boxes = _clipped(boxes_of(image, place), placements, image)
    found = Detections(boxes, scores.flatten()[indices], indices % classes)
    per_level = [len(x) for x in chosen]
    levels = len(counts)
    sizes = [sum(per_level[k * levels : (k + 1) * levels]) for k in range(images)]
    ends = list(accumulate(sizes))
    return [
        _suppressed(found[end - size : end], settings)
        for size, end in zip(sizes, ends, strict=True)
    ]


def _best(scores: Tensor, counts: Sequence[int], threshold: float) -> list[Tensor]:
    """Indices into the flattened scores, of each image and each of its levels, in that order."""
    images, places, classes = scores.shape
    flat = scores.flatten()
    above = torch.where(flat > threshold)[0]
    levels = [end * classes for end in accumulate(counts)]
    ends = [k * places * classes + end for k in range(images) for end in levels]
    bounds = torch.searchsorted(above, torch.tensor(ends, device=above.device)).tolist()
    parts = [above[a:b] for a, b in pairwise([0, *bounds])]
    return [x[flat[x].topk(BEST_OF_LEVEL).indices] if len(x) > BEST_OF_LEVEL else x for x in parts]


def _clipped(boxes: Tensor, placements: Sequence[Placement], image: Tensor) -> Tensor:
    sizes = [(p.content_hw[1], p.content_hw[0]) * 2 for p in placements]
    return boxes.clamp(min=0).minimum(boxes.new_tensor(sizes)[image])


def _suppressed(found: Detections, settings: HeadSettings) -> Detections:
    kept = batched_nms(found.boxes, found.scores, found.labels, settings.nms_iou)
    return found[kept[: settings.max_detections]]
