"""Two frozen backbones on the same canvases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ...cache.pyramid import FeaturePyramid
from .frozen import FrozenBackbone
from .taps import HW


@dataclass(frozen=True)
class PairedBackbone:
    """A pair of backbones that gives the levels of both, as a cache and a second one do."""

    first: FrozenBackbone
    second: FrozenBackbone

    def __call__(self, canvases: Tensor, content_hw: Sequence[HW]) -> FeaturePyramid:
        """Compute both pyramids as a FrozenBackbone does; each backbone normalises the pixels itself."""
        mine: FeaturePyramid = self.first(canvases, content_hw)
        theirs: FeaturePyramid = self.second(canvases, content_hw)
        return mine.joined_with(theirs)
