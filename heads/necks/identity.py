"""The neck that passes the cached levels on as they are."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

from ...cache.errors import ConfigError
from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..detector import Neck
from .settings import IdentitySettings


class Identity(Neck):
    """A neck without parameters, whose levels keep their names."""

    def __init__(self, spec: PyramidSpec, settings: IdentitySettings) -> None:
        super().__init__(spec)
        low, high = settings.min_level, settings.max_level
        numbers = [round(math.log2(stride)) for stride in spec.strides]
        self._used = [k for k, n in enumerate(numbers) if low <= n <= high]
        levels = tuple(spec.levels[k] for k in self._used)
        have = ", ".join(
            f"{v.name} (stride {v.stride}, {v.channels} channels)" for v in spec.levels
        )
        if not levels:
            raise ConfigError(
                f"neck identity: no level within {low} to {high}, the cache has {have}"
            )
        if any(a.stride == b.stride for a, b in pairwise(levels)):
            raise ConfigError(
                f"neck identity: each level must have a stride of its own, the cache has {have}; "
                "neck vit-pyramid takes taps of one stride"
            )
        wanted = settings.channels or levels[0].channels
        if any(v.channels != wanted for v in levels):
            raise ConfigError(
                f"neck identity: expected {wanted} channels in every level, the cache has {have}; "
                "neck fpn brings them to one number"
            )
        self.spec = PyramidSpec(levels)

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """No modules, as nothing is computed."""
        return ()

    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Return the cached levels within min_level..max_level."""
        maps = tuple(pyramid.maps[k] for k in self._used)
        return FeaturePyramid(self.spec, maps, pyramid.canvas_hw)
