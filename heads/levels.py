"""Which cached levels a neck takes, which come out, and how coarser ones than the cache has are made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from ..cache.errors import ConfigError
from ..cache.pyramid import LevelSpec, PyramidSpec
from .family import NeckSettings

Extra = Literal["c", "p", "subsample"]


def levels_of(spec: PyramidSpec, settings: NeckSettings) -> tuple[list[int], PyramidSpec]:
    """Positions of the cached levels from min_level on, and the levels min_level..max_level.

    Raises ConfigError where the cache lacks one, or does not double the stride from level to level.
    """
    numbers = [round(math.log2(stride)) for stride in spec.strides]
    have = ", ".join(f"{v.name} (stride {v.stride})" for v in spec.levels)
    if len(set(numbers)) != len(numbers):
        raise ConfigError(
            f"neck {settings.name}: each cached level must double the stride; the cache has {have}"
        )
    used = [k for k, n in enumerate(numbers) if n >= settings.min_level]
    missing = set(range(settings.min_level, numbers[-1] + 1)) - set(numbers)
    if missing or not used:
        level = min(missing, default=settings.min_level)
        raise ConfigError(
            f"neck {settings.name} needs level c{level} (stride {2**level}), the cache has {have}; "
            f"extract with --levels that include it, or set neck.min_level={numbers[0]}"
        )
    strides = [spec.strides[k] for k in used]
    while len(strides) <= settings.max_level - settings.min_level:
        strides.append(2 * strides[-1])
    strides = strides[: settings.max_level - settings.min_level + 1]
    levels = tuple(
        LevelSpec(f"p{settings.min_level + k}", stride, settings.channels)
        for k, stride in enumerate(strides)
    )
    return used, PyramidSpec(levels)


class ExtraLevels(nn.Module):
    """Coarser levels than there are: from convolutions over the coarsest input ("c") or output ("p"),
    or by subsampling the coarsest output ("subsample", as in Faster R-CNN).
    """

    def __init__(self, extra: Extra, in_channels: int, channels: int, count: int) -> None:
        super().__init__()
        self.source, self.count = extra, count
        widths = [in_channels if extra == "c" else channels, *[channels] * count]
        convolved = 0 if extra == "subsample" else count
        self.convs = nn.ModuleList(
            nn.Conv2d(width, channels, 3, stride=2, padding=1) for width in widths[:convolved]
        )
        for conv in self.convs:
            nn.init.kaiming_uniform_(conv.weight, a=1)  # type: ignore[arg-type]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[Tensor]:
        """The coarsest (B, C, H, W) of each decides; `count` maps, each of half the size."""
        last = inputs[-1] if self.source == "c" else outputs[-1]
        made: list[Tensor] = []
        for k in range(self.count):
            if self.source == "subsample":
                last = functional.max_pool2d(last, kernel_size=1, stride=2)
            else:
                last = self.convs[k](functional.relu(last) if k else last)
            made.append(last)
        return made
