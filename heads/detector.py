"""A detector without a backbone: a neck and a head, fed with feature pyramids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from ..cache.placement import Placement
from ..cache.pyramid import FeaturePyramid, PyramidSpec
from .anchors import Anchors
from .norms import SyncBatchNorm
from .recompute import recomputed
from .types import Detections, Fit, Targets


class Neck(nn.Module, ABC):
    """FeaturePyramid of the `cached` levels -> FeaturePyramid of `spec`, one number of channels."""

    spec: PyramidSpec

    def __init__(self, cached: PyramidSpec) -> None:
        super().__init__()
        self.cached = cached

    @property
    @abstractmethod
    def parts(self) -> tuple[nn.Module, ...]:
        """The modules that do the work on tensors alone: what is worth compiling, and can be."""

    @abstractmethod
    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Build the levels that the head needs; coarser ones than the cache has are made here."""


class Head(nn.Module, ABC):
    """Two methods, and never a forward whose answer depends on `self.training`.

    Both give float32 under autocast too. recompute: whether activations are computed again in the
    backward pass, one part and one level at a time.
    """

    recompute = False

    @property
    def recomputes(self) -> bool:
        """Whether this very call is to be computed again: without gradients nothing is kept anyway."""
        return self.recompute and torch.is_grad_enabled()

    @property
    @abstractmethod
    def parts(self) -> tuple[nn.Module, ...]:
        """The modules that do the work on tensors alone: what is worth compiling, and can be."""

    @property
    @abstractmethod
    def classifiers(self) -> tuple[nn.Module, ...]:
        """The last layers of those that tell classes, one for each stage: from what a layer sees of a
        place or a RoI to its logits.
        """

    @abstractmethod
    def losses(
        self,
        pyramid: FeaturePyramid,
        placements: Sequence[Placement],
        targets: Sequence[Targets],
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        """Named losses, (B,) each, "classification" among them: of every image by itself. targets in
        canvas px.

        All that is drawn for an image comes from a generator seeded by its number of `seeds`.
        """

    @abstractmethod
    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """What is found in each image, in canvas px, within the part that shows the image."""

    @property
    def anchor_generator(self) -> Anchors | None:
        """Of a head that learns from anchors."""
        return None

    @abstractmethod
    def fit(self, boxes: Tensor, canvas_hw: tuple[int, int]) -> Fit:
        """How the objects of an image, (N, 4) canvas px, fit the anchors or places of its canvas."""

    @abstractmethod
    def use_embeddings(self, vectors: Tensor) -> None:
        """Tell classes by vectors (K, D) from here on (heads/embedding.py): in place of the last layer, or
        of the vectors that it has. Raises ConfigError for vectors of another length than those.
        """


class Detector(nn.Module):
    """Neck and head: what is trained on cached features."""

    def __init__(self, neck: Neck, head: Head) -> None:
        super().__init__()
        self.neck = neck
        self.head = head

    def losses(
        self,
        pyramid: FeaturePyramid,
        placements: Sequence[Placement],
        targets: Sequence[Targets],
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        """Named losses, (B,) each; targets in canvas px. What is minimised is the mean over the images
        of the sum over the names, which does not depend on how a batch is split: an image's loss knows
        nothing of its neighbours, and what is drawn for it comes from its own seed alone.
        """
        counts = {len(pyramid), len(placements), len(targets), len(seeds)}
        if len(counts) > 1:
            raise ValueError(
                f"expected one placement, target and seed an image, got {len(placements)}, "
                f"{len(targets)} and {len(seeds)} for {len(pyramid)} images"
            )
        return self.head.losses(self.levels(pyramid), placements, targets, seeds)

    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """What is found in each image, in image px, best first."""
        found = self.head.detections(self.levels(pyramid), placements)
        return [_in_image(*of_image) for of_image in zip(found, placements, strict=True)]

    @property
    def synchronised(self) -> bool:
        """Whether a norm of the neck wants the values of all processes: these must then call `losses`
        equally often, or `accompany` instead.
        """
        return any(isinstance(m, SyncBatchNorm) for m in self.neck.modules())

    def accompany(self) -> None:
        """Of `losses` and its backward pass what other processes wait for, without an image; gradients
        get nothing but zeros.
        """
        device = next(self.neck.parameters()).device
        maps = tuple(
            torch.zeros((0, *level.shape((1, 1))), device=device)
            for level in self.neck.cached.levels
        )
        levels = self.levels(FeaturePyramid(self.neck.cached, maps, (1, 1)))
        torch.stack([x.float().sum() for x in levels.maps]).sum().backward()  # type: ignore[no-untyped-call]

    def checkpoint_activations(self, on: bool) -> None:
        """Whether to keep only the pyramid and the head's outputs for the backward pass, which computes
        all between them again: same losses and gradients, less memory, more time.
        """
        self.head.recompute = on

    def compile_parts(self) -> None:
        """Compile in place, at the first call, what works on tensors alone; names of weights stay."""
        for part in (*self.neck.parts, *self.head.parts):
            part.compile()

    def levels(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """What the neck gives the head."""
        pyramid = pyramid.only(self.neck.cached.names)
        levels = recomputed(self.neck, pyramid) if self.head.recomputes else self.neck(pyramid)
        return cast(FeaturePyramid, levels)

    @property
    def trained_parameters(self) -> int:
        """The number of trained values."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def _in_image(found: Detections, placement: Placement) -> Detections:
    masks = None if found.masks is None else placement.mirrored(found.masks)
    return replace(found, boxes=placement.to_image(found.boxes), masks=masks)
