"""FPN (Lin et al., arXiv 1612.03144), with coarser levels from strided convolutions (RetinaNet)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..detector import Neck
from ..levels import ExtraLevels, levels_of
from ..norms import activation_layer, norm_layer
from .settings import FPNSettings, TopDownSettings


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
        # Levels above max_level only feed the top-down path, so they need no output convolution.
        for k in range(len(self.spec.levels), len(inputs)):
            self.fpn.layer_blocks[k] = nn.Identity()

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """torchvision's FPN, which works on tensors only."""
        return (self.fpn,)

    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Make the levels min_level..max_level from the cached levels."""
        inputs = OrderedDict((str(k), pyramid.maps[k]) for k in self._used)
        maps = tuple(self.fpn(inputs).values())[: len(self.spec.levels)]
        return FeaturePyramid(self.spec, maps, pyramid.canvas_hw)


class FPN(TopDown):
    """The top-down path, with an optional activation after the 3x3 convolution of every level."""

    def __init__(self, spec: PyramidSpec, settings: FPNSettings) -> None:
        super().__init__(spec, settings)
        activation = activation_layer(settings.activation)
        if activation is not None:
            for block in self.fpn.layer_blocks[: len(self.spec.levels)]:
                block.append(activation())


class _ExtraLevels(ExtraLevels, ExtraFPNBlock):  # type: ignore[misc]
    """The extra levels, with the signature that torchvision's FPN expects."""

    def forward(  # type: ignore[override]
        self, results: list[Tensor], x: list[Tensor], names: list[str]
    ) -> tuple[list[Tensor], list[str]]:
        made = ExtraLevels.forward(self, x, results)
        return results + made, names + [f"extra{k}" for k in range(self.count)]
