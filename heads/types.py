"""What a head learns from and what it finds."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Targets:
    """The objects of one image: boxes (N, 4) xyxy canvas px, labels (N,) int64 in 0..K-1."""

    boxes: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        n = self.labels.shape[0]
        if tuple(self.boxes.shape) != (n, 4):
            raise ValueError(f"boxes: expected {(n, 4)}, got {tuple(self.boxes.shape)}")
        if self.labels.dtype != torch.int64:
            raise ValueError(f"labels: expected int64, got {self.labels.dtype}")


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found in one image, best first: boxes (N, 4) xyxy, scores (N,), labels (N,) int64 0..K-1.

    The frame of the boxes is the giver's: a head gives canvas px, a Detector image px.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        n = len(self.labels)
        if tuple(self.boxes.shape) != (n, 4) or tuple(self.scores.shape) != (n,):
            shapes = tuple(self.boxes.shape), tuple(self.scores.shape)
            raise ValueError(f"boxes, scores: expected {(n, 4)}, {(n,)}, got {shapes}")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: slice | Tensor) -> Detections:
        """Those of a slice, of a mask (N,) or of indices, in their order."""
        return Detections(*(getattr(self, f.name)[chosen] for f in fields(self)))

    def to(self, device: torch.device | str) -> Detections:
        """The same there."""
        return Detections(*(getattr(self, f.name).to(device) for f in fields(self)))
