"""FPN (Lin et al., arXiv 1612.03144), with coarser levels by strided convolutions (RetinaNet)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..detector import Neck
from ..family import NeckSettings
from ..levels import Extra, ExtraLevels, levels_of
from ..norms import Activation, Norm, activation_layer, norm_layer


@dataclass(frozen=True, slots=True)
class TopDownSettings(NeckSettings):
    """All cached levels from min_level on take part, those above max_level too. extra: where coarser
    levels than the cache has come from, as `ExtraLevels` says.
    """

    extra: Extra = "p"
    norm: Norm = "gn"


@dataclass(frozen=True, slots=True)
class FPNSettings(TopDownSettings):
    """activation: behind the 3x3 convolution of every level; FPN has none."""

    name: Literal["fpn"] = "fpn"
    activation: Activation = "none"


class TopDown(Neck):
    """torchvision's FPN over the cached levels from min_level on, and its extra levels."""

    def __init__(self, spec: PyramidSpec, settings: TopDownSettings) -> None:
        super().__init__(spec)
        self._used, self.spec = levels_of(spec, settings)
        inputs = [spec.levels[k].channels for k in self._used]
        count = max(0, len(self.spec.levels) - len(inputs))
        extra = _ExtraLevels(settings.extra, inputs[-1], settings.channels, count)
        self.fpn = FeaturePyramidNetwork(
            inputs,
            settings.channels,
            extra_blocks=extra if count else None,
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


class FPN(TopDown):
    """That alone."""

    def __init__(self, spec: PyramidSpec, settings: FPNSettings) -> None:
        super().__init__(spec, settings)
        activation = activation_layer(settings.activation)
        if activation is not None:
            for block in self.fpn.layer_blocks[: len(self.spec.levels)]:
                block.append(activation())


class _ExtraLevels(ExtraLevels, ExtraFPNBlock):  # type: ignore[misc]
    """As torchvision's FPN calls it."""

    def forward(  # type: ignore[override]
        self, results: list[Tensor], x: list[Tensor], names: list[str]
    ) -> tuple[list[Tensor], list[str]]:
        made = ExtraLevels.forward(self, x, results)
        return results + made, names + [f"extra{k}" for k in range(self.count)]
