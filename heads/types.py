"""The targets that a head learns from, and the detections that it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Targets:
    """The objects of one image.

    boxes: (N, 4) xyxy canvas px. labels: (N,) int64 in 0..K-1. masks: (N, S, S), a grid over each object's
    box with the share of every cell that the object covers; bool, or any numbers 0..1. None where nobody
    has drawn masks. known_classes: (K,) bool, the classes that the whole image shows or is known not to show;
    None where that is all of them. class_images: (K,) float32, how many training images show each class,
    the same for all images of a batch. ignored: (M, 4) xyxy canvas px, the regions that are neither to be
    learnt nor background; None for no region.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor | None = None
    known_classes: Tensor | None = None
    class_images: Tensor | None = None
    ignored: Tensor | None = None

    def __post_init__(self) -> None:
        n = self.labels.shape[0]
        if tuple(self.boxes.shape) != (n, 4):
            raise ValueError(f"boxes: expected {(n, 4)}, got {tuple(self.boxes.shape)}")
        if self.labels.dtype != torch.int64:
            raise ValueError(f"labels: expected int64, got {self.labels.dtype}")
        if self.ignored is not None and self.ignored.shape[1:] != (4,):
            raise ValueError(f"ignored: expected (M, 4), got {tuple(self.ignored.shape)}")
        _check_masks(self.masks, n)


@dataclass(frozen=True, slots=True)
class Detections:
    """The objects found in one image, best first.

    boxes: (N, 4) xyxy. scores: (N,). labels: (N,) int64 in 0..K-1. The frame of the boxes depends on where
    they come from: a head gives canvas px, a Detector image px. masks: (N, S, S) float32, a grid over each
    box with the probability that a cell belongs to the object; mirrored with the frame. None where the head
    finds no masks. `masks.paste_masks` draws them at the size of the image.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None = None

    def __post_init__(self) -> None:
        n = len(self.labels)
        if tuple(self.boxes.shape) != (n, 4) or tuple(self.scores.shape) != (n,):
            shapes = tuple(self.boxes.shape), tuple(self.scores.shape)
            raise ValueError(f"boxes, scores: expected {(n, 4)}, {(n,)}, got {shapes}")
        _check_masks(self.masks, n)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: slice | Tensor) -> Detections:
        """Return the detections of a slice, of a mask (N,) or of indices, in their order."""
        return self._each(lambda x: x[chosen])

    def to(self, device: torch.device | str) -> Detections:
        """Return the same detections on another device."""
        return self._each(lambda x: x.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Detections:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: change(x) for name, x in values.items() if x is not None})


class Fit(NamedTuple):
    """How N objects fit the anchors or locations that a head learns from, (N,) each.

    locations: the number of locations that learn the object; its mean over a training where it varies.
    reached: whether an anchor or a range is made for an object of its size.
    """

    locations: Tensor
    reached: Tensor


def _check_masks(masks: Tensor | None, count: int) -> None:
    if masks is None:
        return
    if tuple(masks.shape) != (count, *masks.shape[-1:] * 2):
        raise ValueError(f"masks: expected ({count}, S, S), got {tuple(masks.shape)}")
