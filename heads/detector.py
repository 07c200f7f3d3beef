"""A detector without a backbone: a neck and a head, fed with feature pyramids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from ..cache.placement import Placement
from ..cache.pyramid import FeaturePyramid, PyramidSpec
from .types import Detections, Targets


class Neck(nn.Module, ABC):
    """FeaturePyramid of the cached levels -> FeaturePyramid of `spec`, one number of channels."""

    spec: PyramidSpec

    @abstractmethod
    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Build the levels that the head needs; coarser ones than the cache has are made here."""


class Head(nn.Module, ABC):
    """Two methods, and never a forward whose answer depends on `self.training`."""

    @abstractmethod
    def losses(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement], targets: Sequence[Targets]
    ) -> dict[str, Tensor]:
        """Named scalar losses; their sum is minimised. targets in canvas px."""

    @abstractmethod
    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """What is found in each image, in canvas px, within the part that shows the image."""


class Detector(nn.Module):
    """Neck and head; all its parameters are trained, the backbone's never."""

    def __init__(self, neck: Neck, head: Head) -> None:
        super().__init__()
        self.neck = neck
        self.head = head

    def losses(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement], targets: Sequence[Targets]
    ) -> dict[str, Tensor]:
        """Named scalar losses of a batch; targets in canvas px."""
        return self.head.losses(self.neck(pyramid), placements, targets)

    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """What is found in each image, in image px, best first."""
        found = self.head.detections(self.neck(pyramid), placements)
        return [
            Detections(placement.to_image(d.boxes), d.scores, d.labels)
            for placement, d in zip(placements, found, strict=True)
        ]

    @property
    def trained_parameters(self) -> int:
        """The number of trained values."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)
