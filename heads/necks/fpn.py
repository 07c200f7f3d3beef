"""FPN (Lin et al., arXiv 1612.03144), with coarser levels by strided convolutions (RetinaNet)."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from ...cache.errors import ConfigError
from ...cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from ..checks import check_range
from ..detector import Neck
from ..norms import norm_layer


@dataclass(frozen=True, slots=True)
class FPNSettings:
    """min_level, max_level: of the output; level n has a stride of 2^n or the nearest there is. All
    cached levels from min_level on take part, those above max_level too.

    extra: coarser levels than the cache has come from convolutions over the coarsest input ("c") or
    output ("p"), or by subsampling the coarsest output ("subsample", as in Faster R-CNN).
    """

    name: Literal["fpn"] = "fpn"
    channels: int = 256
    min_level: int = 3
    max_level: int = 7
    extra: Literal["c", "p", "subsample"] = "p"
    norm: Literal["none", "gn"] = "none"

    def __post_init__(self) -> None:
        check_range("neck.channels", self.channels, 1, 2**16)
        check_range("neck.min_level", self.min_level, 0, 20)
        check_range("neck.max_level", self.max_level, self.min_level, 20)


class FPN(Neck):
    """torchvision's FPN over the cached levels from min_level on, and its extra levels."""

    def __init__(self, spec: PyramidSpec, settings: FPNSettings) -> None:
        super().__init__()
        self._used, self.spec = _levels(spec, settings)
        inputs = [spec.levels[k].channels for k in self._used]
        extra = len(self.spec.levels) - len(inputs)
        self.fpn = FeaturePyramidNetwork(
            inputs,
            settings.channels,
            extra_blocks=_ExtraLevels(inputs[-1], settings, extra) if extra > 0 else None,
            norm_layer=norm_layer(settings.norm),
        )
        # Above max_level only the top-down path passes through: nothing is made of it.
        for k in range(len(self.spec.levels), len(inputs)):
            self.fpn.layer_blocks[k] = nn.Identity()

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """torchvision's FPN, which knows tensors only."""
        return (self.fpn,)

    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Cached levels -> levels min_level..max_level."""
        inputs = OrderedDict((str(k), pyramid.maps[k]) for k in self._used)
        maps = tuple(self.fpn(inputs).values())[: len(self.spec.levels)]
        return FeaturePyramid(self.spec, maps, pyramid.canvas_hw)


class _ExtraLevels(ExtraFPNBlock):  # type: ignore[misc]
    def __init__(self, in_channels: int, settings: FPNSettings, count: int) -> None:
        super().__init__()
        self.source = settings.extra
        self.count = count
        first = in_channels if settings.extra == "c" else settings.channels
        channels = [first] + [settings.channels] * (count - 1)
        convolved = settings.extra != "subsample"
        self.convs = nn.ModuleList(
            nn.Conv2d(c, settings.channels, 3, stride=2, padding=1) for c in channels if convolved
        )
        for conv in self.convs:
            nn.init.kaiming_uniform_(conv.weight, a=1)  # type: ignore[arg-type]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(
        self, results: list[Tensor], x: list[Tensor], names: list[str]
    ) -> tuple[list[Tensor], list[str]]:
        last = x[-1] if self.source == "c" else results[-1]
        made: list[Tensor] = []
        for k in range(self.count):
            if self.source == "subsample":
                last = functional.max_pool2d(last, kernel_size=1, stride=2)
            else:
                last = self.convs[k](functional.relu(last) if k else last)
            made.append(last)
        return results + made, names + [f"extra{k}" for k in range(self.count)]


def _levels(spec: PyramidSpec, settings: FPNSettings) -> tuple[list[int], PyramidSpec]:
    """Which cached levels are used, and the levels that come out."""
    numbers = [round(math.log2(stride)) for stride in spec.strides]
    have = ", ".join(f"{v.name} (stride {v.stride})" for v in spec.levels)
    if len(set(numbers)) != len(numbers):
        raise ConfigError(
            f"neck fpn: each cached level must double the stride; the cache has {have}"
        )
    used = [k for k, n in enumerate(numbers) if n >= settings.min_level]
    missing = set(range(settings.min_level, numbers[-1] + 1)) - set(numbers)
    if missing or not used:
        level = min(missing, default=settings.min_level)
        raise ConfigError(
            f"neck fpn needs level c{level} (stride {2**level}), the cache has {have}; extract "
            f"with --levels that include it, or set neck.min_level={numbers[0]}"
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
