"""A trained detector as one module: normalised canvases of one size to detections, or to all candidates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ....cache.errors import InputError
from ....cache.pyramid import FeaturePyramid
from ....heads.detector import Detector
from ....heads.embedding import VectorClassifier
from ....heads.roi.two_stage import TwoStage
from ...backbones.tail import AdaptedTail, Tail
from ...exported.description import Selection
from ...exported.selection import Kept, kept_by_nms, select
from .candidates import Deployable, candidates_of, mask_scores, refined, selection_of
from .features import Features


class Deployed(nn.Module):
    """Backbone, neck, head, and with `nms` the choice of detections, for a batch of any number of canvases.

    Its results are those of `Detector.detections` in canvas px, in shapes that depend on no value. half:
    whether the networks compute in float16; boxes, scores and their choice stay in float32.
    """

    def __init__(
        self, features: Features, detector: Detector, *, nms: bool = True, half: bool = False
    ) -> None:
        super().__init__()
        self.features, self.detector, self.nms = features, detector, nms
        # The detector hides them, as they are not among its weights.
        tails = [x for x in detector.before if isinstance(x, Tail | AdaptedTail)]
        self.tails = nn.ModuleList(tail.net for tail in tails)
        self.adapters = nn.ModuleList(x.adapters for x in tails if isinstance(x, AdaptedTail))
        self.kept: Kept = kept_by_nms
        self.eval().requires_grad_(False)
        if half:
            self._compute_in_half()

    @property
    def head(self) -> Deployable:
        """The head. Raises InputError for a kind that cannot be exported."""
        head = self.detector.head
        if not isinstance(head, Deployable):
            raise InputError(f"a head of the kind {type(head).__name__} cannot be exported")
        return head

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what `forward` returns."""
        masks = self.nms and isinstance(self.head, TwoStage) and self.head.masks is not None
        names = ("boxes", "scores", "labels") if self.nms else ("boxes", "scores")
        return (*names, "masks") if masks else names

    @torch.no_grad()
    def selection(self) -> Selection:
        """Return how detections are chosen among the candidates, found with a canvas of zeros."""
        rows, columns = self.features.canvas_hw
        images, sizes = torch.zeros(1, 3, rows, columns), torch.tensor([[rows, columns]])
        return selection_of(self.head, self._levels(images, sizes))

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Return boxes (B, N, 4), scores (B, N), labels (B, N) and, with a mask head, masks (B, N, M, M).

        Without `nms` they are all boxes (B, A, R, 4) and scores (B, A, K). images: (B, 3, H, W), normalised,
        with padding of zero. sizes: (B, 2) int64, the rows and columns that show an image.
        """
        cached = self.detector.cached_levels(self.features(images, sizes))
        head, levels = self.head, self.detector.levels_of(cached)
        found = candidates_of(head, levels, sizes, self.kept)
        if not self.nms:
            return tuple(found)
        chosen = select(*found, selection_of(head, levels), self.kept)
        if self.detector.refiner is not None:
            boxes = refined(self.detector.refiner, cached, chosen.boxes, sizes)
            chosen = replace(chosen, boxes=boxes)
        detections = chosen.boxes, chosen.scores, chosen.labels
        if isinstance(head, TwoStage) and head.masks is not None:
            return (*detections, mask_scores(head, levels, chosen.boxes, chosen.labels))
        return detections

    def _levels(self, images: Tensor, sizes: Tensor) -> FeaturePyramid:
        return self.detector.levels(self.features(images, sizes))

    def _compute_in_half(self) -> None:
        self.half()
        for module in self.modules():
            if isinstance(module, VectorClassifier):
                # It compares vectors in float32.
                module.vectors = module.vectors.float()
                module.log_scale.data = module.log_scale.data.float()
        refiner = self.detector.refiner
        projections = () if refiner is None else refiner.projections
        for module in (*self.features.nets, *self.tails, self.detector.neck, *projections):
            module.register_forward_pre_hook(_halved)


def _halved(_module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of a call with floating-point tensors in float16, also those of a pyramid."""
    return tuple(map(_half, arguments))


def _half(value: Any) -> Any:
    if isinstance(value, FeaturePyramid):
        maps = tuple(x.half() for x in value.maps)
        return FeaturePyramid(value.spec, maps, value.canvas_hw, _half(value.vector))
    return value.half() if isinstance(value, Tensor) and value.is_floating_point() else value
