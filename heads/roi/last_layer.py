"""The inputs of the class layers of box heads: enough to train these layers when all others are frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid
from ..detector import Detector
from ..types import Targets
from .two_stage import TwoStage, by_image, moved


@dataclass(frozen=True, slots=True)
class SeenRoIs:
    """The sampled RoIs of one image, as the class layers see them.

    vectors: (S, N, C) float32, the inputs of the class layer for N RoIs at each of S stages. labels: (S, N)
    int64, 0 for background, k + 1 for class k, and -1 for RoIs that a later stage ignores.
    """

    vectors: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> SeenRoIs:
        """Return the same RoIs on another device."""
        return SeenRoIs(self.vectors.to(device), self.labels.to(device))


@torch.no_grad()
def seen_rois(
    detector: Detector,
    pyramid: FeaturePyramid,
    placements: Sequence[Placement],
    targets: Sequence[Targets],
    seeds: Sequence[int],
) -> list[SeenRoIs]:
    """Return for each image the RoIs that `Detector.losses` would draw with these seeds.

    The detector's head is a TwoStage. In a cascade every stage sees the RoIs of the first stage as the
    frozen stages before it have refined them.
    """
    head, levels = _two_stage(detector), detector.levels(pyramid)
    _, rois = head.sampled(levels, placements, targets, seeds)
    boxes, vectors, labels = [of_image.boxes for of_image in rois], [], []
    for k, stage in enumerate(head.stages):
        if k:
            rois = [stage.labelled(*of_image) for of_image in zip(boxes, targets, strict=True)]
        seen = stage.vectors(levels, boxes)
        vectors.append(torch.split(seen.float(), [len(of_image) for of_image in boxes]))
        labels.append([of_image.labels for of_image in rois])
        if k + 1 < len(head.stages):
            boxes = moved(stage, by_image(stage.predicted(seen), boxes), boxes, placements)
    by_stage = zip(zip(*vectors, strict=True), zip(*labels, strict=True), strict=True)
    return [SeenRoIs(torch.stack(v), torch.stack(of_image)) for v, of_image in by_stage]


def class_losses(
    detector: Detector, seen: Sequence[SeenRoIs], targets: Sequence[Targets], seeds: Sequence[int]
) -> Tensor:
    """Return (B,): the "classification" loss that `Detector.losses` has for these RoIs.

    Only the fields of the targets that concern classes are used.
    """
    head = _two_stage(detector)
    counts, counted = [x.labels.shape[1] for x in seen], head.counted(targets, seeds)
    by_stage = []
    for k, stage in enumerate(head.stages):
        logits = stage.logits(torch.cat([x.vectors[k] for x in seen]))
        labels = [x.labels[k] for x in seen]
        images = zip(torch.split(logits, counts), labels, targets, counted, strict=True)
        by_stage.append(torch.stack([stage.class_loss(*of_image) for of_image in images]))
    return head.over_stages(by_stage)


def _two_stage(detector: Detector) -> TwoStage:
    assert isinstance(detector.head, TwoStage)
    return detector.head
