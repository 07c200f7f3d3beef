"""The cached levels that a neck takes, the levels that it returns, and levels coarser than the cache's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from ..cache.errors import ConfigError
from ..cache.pyramid import LevelSpec, PyramidSpec
from .convolutions import Downsampling, coarser, convolution, initialise
from .family import Extra, NeckSettings


def levels_of(spec: PyramidSpec, settings: NeckSettings) -> tuple[list[int], PyramidSpec]:
    """Return the positions of the cached levels from min_level on, and the levels min_level..max_level.

    Raises ConfigError where the cache lacks a level, or where the stride does not double from level to
    level.
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


def doubling_levels_of(spec: PyramidSpec, settings: NeckSettings) -> tuple[list[int], PyramidSpec]:
    """Return the same as `levels_of`, with only the cached levels up to max_level.

    This is for necks that go up and down between levels. Raises ConfigError also where a stride is not
    exactly twice the one before.
    """
    used, levels = levels_of(spec, settings)
    strides = levels.strides
    if any(b != 2 * a for a, b in pairwise(strides)):
        raise ConfigError(
            f"neck {settings.name}: each level must have exactly twice the stride of the one before, "
            f"got {', '.join(map(str, strides))}; neck fpn takes such levels"
        )
    return used[: len(strides)], levels


def levels_of_taps(spec: PyramidSpec, settings: NeckSettings) -> tuple[int, PyramidSpec]:
    """Return how often to double the stride of a cache for min_level, and the levels min_level..max_level.

    All cached levels have one stride; a number below 0 means that it is halved. Raises ConfigError for
    several strides, or for one that cannot be halved.
    """
    strides = sorted(set(spec.strides))
    if len(strides) > 1:
        raise ConfigError(
            f"neck {settings.name}: the cached levels must all have one stride, as taps of a plain "
            f"ViT have, got {', '.join(map(str, strides))}; neck fpn takes a pyramid"
        )
    stride, number = strides[0], round(math.log2(strides[0]))
    even = (stride & -stride).bit_length() - 1
    if number - even > settings.min_level:
        raise ConfigError(
            f"neck {settings.name}: level {settings.min_level} would need stride "
            f"{stride / 2 ** (number - settings.min_level):g}, and strides are whole pixels; "
            f"set neck.min_level={number - even} (stride {stride >> even})"
        )
    first = settings.min_level - number
    levels = tuple(
        LevelSpec(f"p{number + k}", int(stride * 2.0**k), settings.channels)
        for k in range(first, settings.max_level - number + 1)
    )
    return first, PyramidSpec(levels)


class ExtraLevels(nn.Module):
    """Levels coarser than those given.

    They are made by convolutions over the coarsest input ("c") or output ("p"), or by subsampling the
    coarsest output ("subsample", as in Faster R-CNN).
    """

    def __init__(self, extra: Extra, in_channels: int, channels: int, count: int) -> None:
        super().__init__()
        self.source, self.count = extra, count
        widths = [in_channels if extra == "c" else channels, *[channels] * count]
        convolved = 0 if extra == "subsample" else count
        self.convs = nn.ModuleList(Downsampling(width, channels) for width in widths[:convolved])
        initialise(self.convs)

    def forward(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[Tensor]:
        """Return `count` maps, each half the size of the one before.

        They start from the coarsest map (B, C, H, W) of the inputs or of the outputs.
        """
        last = inputs[-1] if self.source == "c" else outputs[-1]
        made: list[Tensor] = []
        for k in range(self.count):
            if self.source == "subsample":
                last = functional.max_pool2d(last, kernel_size=1, stride=2)
            else:
                last = self.convs[k](functional.relu(last) if k else last)
            made.append(last)
        return made


class ProjectedLevels(nn.Module):
    """The input maps, each projected to one number of channels by a 1x1 convolution and a norm.

    Levels coarser than the inputs are made by max-pooling the coarsest projected map.
    """

    def __init__(self, inputs: Sequence[int], channels: int, norm: str, count: int) -> None:
        """Build one projection for each input.

        inputs: the number of channels of each input. count: the number of maps that come out.
        """
        super().__init__()
        self.convs = nn.ModuleList(convolution(c, channels, 1, norm=norm) for c in inputs)
        self.count = count

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Project maps (B, C_l, H_l, W_l) to `count` maps (B, channels, H_l, W_l)."""
        maps = [conv(x) for conv, x in zip(self.convs, inputs, strict=True)]
        while len(maps) < self.count:
            maps.append(coarser(maps[-1], 1))
        return maps
