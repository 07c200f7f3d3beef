"""No neck: the cached levels as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import nn

from ...cache.errors import ConfigError
from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..checks import check_range
from ..detector import Neck
from ..family import NeckSettings


@dataclass(frozen=True, slots=True)
class IdentitySettings(NeckSettings):
    """channels: what the cached levels must have; 0 for any. Of them those within min_level..max_level
    are used; none is made.
    """

    name: Literal["identity"] = "identity"
    channels: int = 0
    min_level: int = 0
    max_level: int = 16

    def __post_init__(self) -> None:
        check_range("neck.channels", self.channels, 0, 2**16)
        check_range("neck.min_level", self.min_level, 0, 20)
        check_range("neck.max_level", self.max_level, self.min_level, 20)


class Identity(Neck):
    """Without parameters. The levels keep their names."""

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
        """None."""
        return ()

    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Those within min_level..max_level."""
        maps = tuple(pyramid.maps[k] for k in self._used)
        return FeaturePyramid(self.spec, maps, pyramid.canvas_hw)
