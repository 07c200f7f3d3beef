"""EfficientDet's neck (Tan et al., arXiv 1911.09070, section 3): a path down and a path up, repeated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...cache.pyramid import PyramidSpec
from ..convolutions import coarser, finer, separable
from ..norms import activation_layer
from ..repeated import RepeatedNeck
from .settings import BiFPNSettings


class BiFPN(RepeatedNeck):
    """The two paths, repeated `settings.repeats` times."""

    def __init__(self, spec: PyramidSpec, settings: BiFPNSettings) -> None:
        def graph(count: int) -> nn.Module:
            return DownAndUp(count, settings)

        super().__init__(spec, settings, settings.norm, settings.repeats, graph)


class DownAndUp(nn.Module):
    """One repeat of the two paths.

    D_l = fused(P_l, D_(l+1) made finer), where D of the coarsest level is its P; then O_l = fused(P_l, D_l,
    O_(l-1) made coarser), where O of the finest level is its D and the coarsest has no D.
    """

    def __init__(self, count: int, settings: BiFPNSettings) -> None:
        super().__init__()
        inputs_up = [3] * (count - 2) + [2]
        self.down = nn.ModuleList(Fusion(2, settings) for _ in range(count - 1))
        self.up = nn.ModuleList(Fusion(n, settings) for n in inputs_up)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return maps of the same shapes as those given, (B, C, H_l, W_l) each, finest first."""
        down = [maps[-1]]
        for x, fusion in zip(maps[-2::-1], self.down, strict=True):
            down.insert(0, fusion(x, finer(down[0], 1, (x.shape[-2], x.shape[-1]))))
        out = [down[0]]
        middle = zip(maps[1:-1], down[1:-1], strict=True)
        for given, fusion in zip([*middle, (maps[-1],)], self.up, strict=True):
            out.append(fusion(*given, coarser(out[-1], 1)))
        return out


class Fusion(nn.Module):
    """The paper's fast normalised fusion, followed by a separable convolution with its norm.

    The fusion is the sum of w_i x_i over (sum of w_i + 1e-4), where w is the ReLU of trained weights. The
    activation comes before or after the convolution and the norm.
    """

    def __init__(self, inputs: int, settings: BiFPNSettings) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(inputs))
        names = [settings.activation, "none"]
        before, after = names if settings.order == "act-conv-norm" else names[::-1]
        self.activation = (activation_layer(before) or nn.Identity)()
        self.conv = separable(settings.channels, norm=settings.norm, activation=after)

    def forward(self, *maps: Tensor) -> Tensor:
        """Fuse maps of (B, C, H, W) to one of the same shape."""
        weights = functional.relu(self.weights)
        shares = weights / (weights.sum() + 1e-4)
        fused = torch.stack([share * x for share, x in zip(shares, maps, strict=True)]).sum(0)
        out: Tensor = self.conv(self.activation(fused))
        return out
