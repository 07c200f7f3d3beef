"""A detector without a backbone: a neck and a head, fed with feature pyramids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self, cast

import torch
from torch import Tensor, nn

from ..cache.placement import Placement
from ..cache.pyramid import FeaturePyramid, PyramidSpec
from .anchors import Anchors
from .class_rows import ClassRows
from .norms import SyncBatchNorm
from .recompute import recomputed
from .refine.refiner import Refiner
from .types import Detections, Fit, Targets

# A function that adds levels to a pyramid.
Completing = Callable[[FeaturePyramid], FeaturePyramid]


class Neck(nn.Module, ABC):
    """A module from a FeaturePyramid of the `cached` levels to one of `spec`, with one number of channels."""

    spec: PyramidSpec

    def __init__(self, cached: PyramidSpec) -> None:
        super().__init__()
        self.cached = cached

    @property
    @abstractmethod
    def parts(self) -> tuple[nn.Module, ...]:
        """The modules that work on tensors alone, which can be compiled and are worth it."""

    @abstractmethod
    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Build the levels that the head needs, including those coarser than the cache's."""


class Head(nn.Module, ABC):
    """A module with `losses` and `detections`, and no forward whose result depends on `self.training`.

    Both return float32, under autocast too. recompute: whether activations are recomputed in the backward
    pass, one part and one level at a time.
    """

    recompute = False

    @property
    def recomputes(self) -> bool:
        """Return whether this call is to be recomputed; without gradients nothing is kept anyway."""
        return self.recompute and torch.is_grad_enabled()

    @property
    @abstractmethod
    def parts(self) -> tuple[nn.Module, ...]:
        """The modules that work on tensors alone, which can be compiled and are worth it."""

    @property
    @abstractmethod
    def classifiers(self) -> tuple[nn.Module, ...]:
        """The last layers of the classification, one for each stage.

        Each takes the features of a location or a RoI to its logits.
        """

    @property
    @abstractmethod
    def class_rows(self) -> ClassRows:
        """The layers that learn something for each class, and the classes that their rows belong to.

        Layers that know classes by vectors (`use_embeddings`) are not among them.
        """

    @abstractmethod
    def losses(
        self,
        pyramid: FeaturePyramid,
        placements: Sequence[Placement],
        targets: Sequence[Targets],
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        """Return named losses, (B,) each, of every image separately; "classification" is among them.

        targets: the objects of each image, in canvas px. All that is drawn for an image comes from a
        generator that is seeded with its number in `seeds`.
        """

    @abstractmethod
    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """Return the detections of each image in canvas px, within the part that shows the image."""

    def without_masks(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """Return the same detections without masks, which `with_masks` adds."""
        return self.detections(pyramid, placements)

    def with_masks(
        self, pyramid: FeaturePyramid, found: Sequence[Detections]
    ) -> Sequence[Detections]:
        """Return detections with the masks that the head predicts for their boxes, if it predicts any."""
        return found

    @property
    def anchor_generator(self) -> Anchors | None:
        """The anchor generator of a head that learns from anchors, otherwise None."""
        return None

    @abstractmethod
    def fit(self, boxes: Tensor, canvas_hw: tuple[int, int]) -> Fit:
        """Return how the objects of an image, (N, 4) canvas px, fit the canvas's anchors or locations."""

    @abstractmethod
    def use_embeddings(self, vectors: Tensor) -> None:
        """Classify by vectors (K, D) from now on (heads/embedding.py).

        They replace the last layer, or the vectors that it has. Raises ConfigError for vectors of another
        length than those.
        """


class Detector(nn.Module):
    """A neck and a head, which are trained on cached features; or a refiner of them, and they are frozen.

    Neck and head are then in eval mode at all times, and `losses` are the refiner's.
    """

    def __init__(self, neck: Neck, head: Head, refiner: Refiner | None = None) -> None:
        super().__init__()
        self.neck = neck
        self.head = head
        self.refiner = refiner
        if refiner is not None:
            neck.eval().requires_grad_(False)
            head.eval().requires_grad_(False)
        # A tuple hides what comes before the neck from torch: its weights are not the detector's.
        self._before: tuple[Completing, ...] = ()

    def begin_with(self, before: Completing) -> None:
        """Pass every pyramid through `before` first, which adds the levels that it lacks."""
        self._before = (before,)

    @property
    def before(self) -> tuple[Completing, ...]:
        """The functions that add levels to a pyramid before the neck."""
        return self._before

    def losses(
        self,
        pyramid: FeaturePyramid,
        placements: Sequence[Placement],
        targets: Sequence[Targets],
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        """Return named losses, (B,) each; targets are in canvas px.

        The mean over the images of the sum over the names is to be minimised. It does not depend on how a
        batch is split: the loss of an image does not depend on the other images, and what is drawn for it
        comes from its own seed alone.
        """
        counts = {len(pyramid), len(placements), len(targets), len(seeds)}
        if len(counts) > 1:
            raise ValueError(
                f"expected one placement, target and seed per image, {len(pyramid)} of each, got "
                f"{len(placements)}, {len(targets)} and {len(seeds)}"
            )
        if self.refiner is None:
            return self.head.losses(self.levels(pyramid), placements, targets, seeds)
        with torch.no_grad():
            cached = self.cached_levels(pyramid)
            found = self.head.without_masks(self.levels_of(cached), placements)
        return self.refiner.losses(cached, found, placements, targets, seeds)

    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """Return the detections of each image in image px, best first."""
        cached = self.cached_levels(pyramid)
        levels = self.levels_of(cached)
        found: Sequence[Detections] = self.head.without_masks(levels, placements)
        if self.refiner is not None:
            found = self.refiner(cached, found, placements)
        found = self.head.with_masks(levels, found)
        return [_in_image(*of_image) for of_image in zip(found, placements, strict=True)]

    def train(self, mode: bool = True) -> Self:
        """Set the mode of what is trained."""
        super().train(mode)
        if self.refiner is not None:
            self.neck.eval()
            self.head.eval()
        return self

    @property
    def synchronised(self) -> bool:
        """Return whether a norm of the neck uses the values of all processes.

        These must then call `losses` equally often, or `accompany` instead.
        """
        return self.refiner is None and any(
            isinstance(m, SyncBatchNorm) for m in self.neck.modules()
        )

    def accompany(self) -> None:
        """Run the part of `losses` and its backward pass that other processes wait for, without an image.

        Gradients receive nothing but zeros.
        """
        device = next(self.neck.parameters()).device
        maps = tuple(
            torch.zeros((0, *level.shape((1, 1))), device=device)
            for level in self.neck.cached.levels
        )
        levels = self.levels_of(FeaturePyramid(self.neck.cached, maps, (1, 1)))
        torch.stack([x.float().sum() for x in levels.maps]).sum().backward()  # type: ignore[no-untyped-call]

    def checkpoint_activations(self, on: bool) -> None:
        """Set whether the backward pass recomputes activations.

        Then only the pyramid and the head's outputs are kept for it, and all activations between them are
        recomputed: losses and gradients are the same, with less memory and more time.
        """
        self.head.recompute = on
        if self.refiner is not None:
            self.refiner.recompute = on

    def compile_parts(self) -> None:
        """Compile in place, at the first call, the parts that work on tensors alone.

        The weights keep their names.
        """
        refining = () if self.refiner is None else self.refiner.parts
        for part in (*self.neck.parts, *self.head.parts, *refining):
            part.compile()

    def levels(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Return the levels that the neck gives to the head."""
        return self.levels_of(self.cached_levels(pyramid))

    def cached_levels(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Return the levels that the neck takes, which the refiner reads too."""
        for before in self._before:
            pyramid = before(pyramid)
        return pyramid.only(self.neck.cached.names)

    def levels_of(self, cached: FeaturePyramid) -> FeaturePyramid:
        """Return the levels that the neck makes of the levels that it takes."""
        levels = recomputed(self.neck, cached) if self.head.recomputes else self.neck(cached)
        return cast(FeaturePyramid, levels)

    @property
    def trained_parameters(self) -> int:
        """The number of trained parameter values."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @property
    def all_parameters(self) -> int:
        """The number of all parameter values, trained or frozen."""
        return sum(p.numel() for p in self.parameters())


def _in_image(found: Detections, placement: Placement) -> Detections:
    masks = None if found.masks is None else placement.mirrored(found.masks)
    return replace(found, boxes=placement.to_image(found.boxes), masks=masks)
