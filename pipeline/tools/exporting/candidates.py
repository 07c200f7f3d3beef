"""All scores and boxes that a head gives for a batch, in shapes that depend on no value."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import roi_align

from ....cache.pyramid import FeaturePyramid
from ....heads.anchors import canvas_anchors
from ....heads.candidates import BEST_OF_LEVEL
from ....heads.dense.dense_head import DenseHead
from ....heads.query.query_head import QueryHead
from ....heads.refine.deltas import moved_boxes
from ....heads.refine.refiner import Refiner
from ....heads.roi.box_head import BoxHead
from ....heads.roi.pooling import RoIPool
from ....heads.roi.two_stage import TwoStage
from ...exported.description import Selection
from ...exported.selection import Kept, select

# The most pairs of a RoI and a class that NMS takes. The head itself has no such limit, which matters only
# where NMS drops nearly all of them.
_BEST_OF_ROIS = 5000
# torchvision's RPN drops boxes with a shorter side, px; the RoI heads those below the second number.
_MIN_PROPOSAL, _MIN_BOX = 1e-3, 1e-2


# The heads that can be exported.
Deployable = DenseHead | TwoStage | QueryHead


class Candidates(NamedTuple):
    """The boxes (B, A, R, 4) canvas px and scores (B, A, K) that detections are chosen among.

    R is 1 or K: a location, or a RoI, has one box for all classes, or one for each.
    """

    boxes: Tensor
    scores: Tensor


def selection_of(head: Deployable, levels: FeaturePyramid) -> Selection:
    """Return how the head's settings choose detections among its candidates."""
    settings = head.settings
    threshold, limit = settings.score_threshold, settings.max_detections
    if isinstance(head, QueryHead):
        cells = sum(x.shape[-2] * x.shape[-1] for x in levels.maps)
        count = min(head.settings.queries, cells)
        return Selection((count,), limit, threshold, 1.0, "none", limit)
    if isinstance(head, DenseHead):
        counts = tuple(head.per_cell * x.shape[-2] * x.shape[-1] for x in levels.maps)
        best, min_side = BEST_OF_LEVEL, 0.0
    else:
        counts, best, min_side = (_proposals(head, levels).limit,), _BEST_OF_ROIS, _MIN_BOX
    within: Literal["class", "image"] = "image" if head.settings.nms == "agnostic" else "class"
    return Selection(counts, best, threshold, head.settings.nms_iou, within, limit, min_side)


def candidates_of(
    head: Deployable, levels: FeaturePyramid, sizes: Tensor, kept: Kept
) -> Candidates:
    """Return the candidates of a batch, clipped to what shows the image. sizes: as `Features` takes them."""
    if isinstance(head, QueryHead):
        scores, boxes = head.outputs(levels)
        return Candidates(_clipped(boxes[:, :, None], sizes), scores)
    if isinstance(head, DenseHead):
        return _of_locations(head, levels, sizes)
    return _of_rois(head, levels, sizes, kept)


def mask_scores(head: TwoStage, levels: FeaturePyramid, boxes: Tensor, labels: Tensor) -> Tensor:
    """Return the masks (B, N, M, M) of detections, boxes (B, N, 4) and labels (B, N)."""
    masks = head.masks
    assert masks is not None
    pooled = masks.layers(_pooled(masks.pool, levels, boxes))
    logits: Tensor = masks.predictor(pooled, labels.clamp(min=0).flatten()).float()
    return logits.sigmoid().reshape(*labels.shape, *logits.shape[1:])


def refined(refiner: Refiner, cached: FeaturePyramid, boxes: Tensor, sizes: Tensor) -> Tensor:
    """Return the boxes (B, N, 4) of detections, corrected and clipped; empty ones stay so."""
    levels = refiner.levels(cached)
    for stage in refiner.stages:
        deltas = stage(_pooled(refiner.pool, levels, boxes)).view(boxes.shape)
        boxes = _clipped(moved_boxes(boxes, deltas)[:, :, None], sizes)[:, :, 0]
    return boxes


def _of_locations(head: DenseHead, levels: FeaturePyramid, sizes: Tensor) -> Candidates:
    outputs = head.outputs(levels)
    scores = head.scores(outputs)
    images, locations = scores.shape[:2]
    image = torch.arange(images, device=scores.device)[:, None].expand(-1, locations)
    location = torch.arange(locations, device=scores.device).expand(images, -1)
    boxes = head.boxes(outputs, levels)(image.flatten(), location.flatten())
    return Candidates(_clipped(boxes.reshape(images, locations, 1, 4), sizes), scores)


def _of_rois(head: TwoStage, levels: FeaturePyramid, sizes: Tensor, kept: Kept) -> Candidates:
    proposals = select(*_anchors(head, levels, sizes), _proposals(head, levels), kept)
    rois, found = proposals.boxes, proposals.scores > 0
    of_stages = []
    for number, stage in enumerate(head.stages, 1):
        logits, deltas = _outputs(stage, levels, rois)
        of_stages.append(stage.scores(logits.flatten(0, 1)).reshape(*rois.shape[:2], -1))
        boxes = _decoded(stage, deltas, rois, sizes)
        if number < len(head.stages):
            rois = _of_best_class(boxes, logits[..., -stage.classes :])
    scores = torch.stack(of_stages).mean(dim=0)
    return Candidates(boxes, torch.where(found[..., None], scores, 0.0))


def _proposals(head: TwoStage, levels: FeaturePyramid) -> Selection:
    """Return how the RPN chooses proposals among its anchors."""
    per_cell = head.anchor_generator.num_anchors_per_location()[0]
    counts = tuple(per_cell * x.shape[-2] * x.shape[-1] for x in levels.maps)
    before, after = head.settings.rpn_top_test
    limit = min(after, sum(min(before, count) for count in counts))
    return Selection(counts, before, 0.0, head.settings.rpn_nms_iou, "level", limit, _MIN_PROPOSAL)


def _anchors(head: TwoStage, levels: FeaturePyramid, sizes: Tensor) -> Candidates:
    """Return the boxes (B, A, 1, 4) and scores (B, A, 1) that the RPN gives to its anchors."""
    logits, deltas = head.rpn.head(list(levels.maps))
    images = levels.maps[0].shape[0]
    scores, deltas = (x.float() for x in concat_box_prediction_layers(logits, deltas))
    anchors = canvas_anchors(head.anchor_generator, levels)
    each = anchors.expand(images, *anchors.shape).flatten(0, 1)
    boxes = head.rpn.box_coder.decode_single(deltas, each).view(images, -1, 1, 4)
    return Candidates(_clipped(boxes, sizes), scores.sigmoid().view(images, -1, 1))


def _outputs(stage: BoxHead, levels: FeaturePyramid, rois: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits (B, P, L) and box deltas (B, P, R, 4) of RoIs (B, P, 4)."""
    logits, deltas = stage.predicted(stage.layers(_pooled(stage.pool, levels, rois)))
    shape = rois.shape[:2]
    return logits.reshape(*shape, -1), deltas.reshape(*shape, *deltas.shape[1:])


def _decoded(stage: BoxHead, deltas: Tensor, rois: Tensor, sizes: Tensor) -> Tensor:
    """Return the boxes (B, P, R, 4) of deltas, clipped."""
    boxes = stage.coder.decode_single(deltas.flatten(0, 1).flatten(1), rois.flatten(0, 1))
    return _clipped(boxes.view(deltas.shape), sizes)


def _of_best_class(boxes: Tensor, logits: Tensor) -> Tensor:
    """Return (B, P, 4): of the boxes (B, P, R, 4) those of the class with the best logit, (B, P, K)."""
    if boxes.shape[2] == 1:
        return boxes[:, :, 0]
    best = logits.argmax(dim=2)[..., None, None].expand(-1, -1, 1, 4)
    return boxes.gather(2, best)[:, :, 0]


def _pooled(pool: RoIPool, levels: FeaturePyramid, rois: Tensor) -> Tensor:
    """Pool RoIs (B, P, 4) to (B · P, C, size, size).

    Each RoI is pooled from all levels and takes the result of its own, so that no shape depends on how many
    belong to a level.
    """
    images, count = rois.shape[:2]
    image = torch.arange(images, device=rois.device, dtype=rois.dtype)
    flat = rois.flatten(0, 1)
    boxes = torch.cat([image[:, None].expand(-1, count).reshape(-1, 1), flat], dim=1)
    own = pool.levels_of([flat])[:, None, None, None]
    first = levels.maps[0]
    out = flat.new_zeros(())
    for k, (x, scale) in enumerate(zip(levels.maps, pool.scales, strict=False)):
        pooled = roi_align(x.float(), boxes, pool.size, scale, 2, pool.aligned)
        out = torch.where(own == k, pooled, out)
    return out.to(first.dtype)


def _clipped(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Clip boxes (B, A, R, 4) to what shows the image of each canvas. sizes: (B, 2), rows and columns."""
    limits = sizes.flip(1).repeat(1, 2).to(boxes.dtype)
    return boxes.clamp(min=0).minimum(limits[:, None, None])
