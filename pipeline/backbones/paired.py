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
    """The levels of both, as a cache and a second one give them."""

    first: FrozenBackbone
    second: FrozenBackbone

    def __call__(self, canvases: Tensor, content_hw: Sequence[HW]) -> FeaturePyramid:
        """As a FrozenBackbone; each scales the pixels as it was made for."""
        mine: FeaturePyramid = self.first(canvases, content_hw)
        theirs: FeaturePyramid = self.second(canvases, content_hw)
        return mine.beside(theirs)
