"""The refiner (RefineBox, arXiv 2307.11828): stages that correct the boxes of a frozen detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import starmap
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from ..convolutions import convolution, initialise
from ..losses import giou_loss
from ..recompute import recomputed
from ..roi.pooling import RoIPool
from ..types import Detections, Targets
from .deltas import deltas_between, moved_boxes
from .samples import SAMPLED, samples_of, within

# The cells per side of a pooled box; the channels of a level, of a cell in a stage, and of its vectors.
_SIZE, _CHANNELS, _NARROW, _WIDTH = 7, 64, 32, 128
# Deltas are small, so they are weighed as much more as Faster R-CNN multiplies them.
_DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


class Stage(nn.Module):
    """Layers from a box's pooled cells to the deltas that correct it. A fresh stage corrects nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(_CHANNELS, _NARROW, 1, norm="gn", activation="relu"),
            nn.Flatten(),
            nn.Linear(_NARROW * _SIZE**2, _WIDTH),
            nn.ReLU(),
        )
        initialise(self.layers)
        self.output = nn.Linear(_WIDTH, 4)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return the deltas (N, 4), float32, of pooled boxes (N, C, 7, 7)."""
        return cast(Tensor, self.output(self.layers(pooled)).float())


class Refiner(nn.Module):
    """Stages, each of which pools the boxes that the one before has corrected.

    They pool the levels that the neck takes, each projected to one number of channels. What the neck makes of
    them would serve less: it has learnt the training images, which therefore look different to it from all
    others. Of the levels of two backbones, those of the first are used.
    """

    recompute = False

    def __init__(self, cached: PyramidSpec, stages: int) -> None:
        super().__init__()
        self.cached = PyramidSpec(cached.parted()[0])
        strides = dict.fromkeys(self.cached.strides)
        self.spec = PyramidSpec(tuple(LevelSpec(f"r{s}", s, _CHANNELS) for s in strides))
        self.projections = nn.ModuleList(
            convolution(level.channels, _CHANNELS, 1) for level in self.cached.levels
        )
        self.pool = RoIPool(self.spec, _SIZE, aligned=True, last=True)
        self.stages = cast(Sequence[Stage], nn.ModuleList(Stage() for _ in range(stages)))

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The stages, which work on pooled boxes."""
        return tuple(self.stages)

    def levels(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Return the levels that boxes are pooled from; those of one stride are added up."""
        maps: dict[int, Tensor] = {}
        chosen = zip(self.cached.strides, pyramid.only(self.cached.names).maps, strict=True)
        for projection, (stride, x) in zip(self.projections, chosen, strict=True):
            projected = projection(x)
            maps[stride] = maps[stride] + projected if stride in maps else projected
        return FeaturePyramid(self.spec, tuple(maps.values()), pyramid.canvas_hw)

    def forward(
        self,
        pyramid: FeaturePyramid,
        found: Sequence[Detections],
        placements: Sequence[Placement],
    ) -> list[Detections]:
        """Return the detections of each image, in canvas px, with corrected boxes; all else stays.

        pyramid: the levels that the neck takes.
        """
        levels, boxes = self.levels(pyramid), [of_image.boxes for of_image in found]
        for stage in self.stages:
            boxes = _corrected(boxes, self._deltas(stage, levels, boxes), placements)
        images = zip(found, boxes, strict=True)
        return [replace(of_image, boxes=corrected) for of_image, corrected in images]

    def losses(
        self,
        pyramid: FeaturePyramid,
        found: Sequence[Detections],
        placements: Sequence[Placement],
        targets: Sequence[Targets],
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        """Return "box" and "giou", (B,) each: the L1 of the deltas and the GIoU loss, summed over the stages.

        They are divided by SAMPLED, so that each image with objects weighs the same. pyramid: the levels that
        the neck takes. found: the detections of the frozen detector. All else is as for `Head.losses`.
        """
        hws = [placed.content_hw for placed in placements]
        samples = list(starmap(samples_of, zip(found, targets, hws, seeds, strict=True)))
        boxes, wanted = [of.boxes for of in samples], [of.wanted for of in samples]
        levels, by_stage = self.levels(pyramid), []
        for stage in self.stages:
            deltas = self._deltas(stage, levels, boxes)
            images = zip(boxes, deltas, wanted, strict=True)
            by_stage.append(torch.stack([_losses(*of_image) for of_image in images]))
            boxes = _corrected(boxes, [of_image.detach() for of_image in deltas], placements)
        off, giou = torch.stack(by_stage).sum(dim=0).unbind(dim=1)
        return {"box": off, "giou": giou}

    def _deltas(
        self, stage: Stage, pyramid: FeaturePyramid, boxes: list[Tensor]
    ) -> Sequence[Tensor]:
        """Return what a stage finds for each image's boxes, (N, 4) each."""
        pooled = self.pool(pyramid, boxes)
        recompute = self.recompute and torch.is_grad_enabled()
        deltas = recomputed(stage, pooled) if recompute else stage(pooled)
        return torch.split(deltas, [len(of_image) for of_image in boxes])


def _corrected(
    boxes: Sequence[Tensor], deltas: Sequence[Tensor], placements: Sequence[Placement]
) -> list[Tensor]:
    images = zip(boxes, deltas, placements, strict=True)
    return [within(moved_boxes(b, d), placed.content_hw) for b, d, placed in images]


def _losses(boxes: Tensor, deltas: Tensor, wanted: Tensor) -> Tensor:
    """Return (2,): the losses of an image's boxes (N, 4), corrected by deltas (N, 4)."""
    off = functional.l1_loss(deltas, deltas_between(boxes, wanted), reduction="none")
    giou = giou_loss(moved_boxes(boxes, deltas), wanted)
    weighted = (off * off.new_tensor(_DELTA_WEIGHTS)).sum()
    return torch.stack([weighted, giou.sum()]) / SAMPLED
