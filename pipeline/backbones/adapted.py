"""A frozen backbone with small trained adapters after its blocks.

An adapter maps a block's output x, cell by cell, to x + up(relu(norm(down(x)))), a bottleneck in parallel
with the identity (residual adapters: Rebuffi et al., arXiv 1705.08045; bottlenecks: Houlsby et al., arXiv
1902.00751). `up` begins at zero, so the pyramid begins as that of the frozen backbone, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...cache.errors import ConfigError
from ...cache.pyramid import FeaturePyramid
from .blocks import Block, find_blocks
from .cut import CutNet
from .frozen import FrozenBackbone
from .taps import HW
from .trained import first_stage


class Adapter(nn.Module):
    """An adapter of maps or tokens with `channels` in dimension `axis`, and `width` channels in between.

    On maps its linear layers act as 1x1 convolutions. The norm is taken over one cell alone, so no image
    depends on its neighbours in the batch or on its padding.
    """

    def __init__(self, channels: int, width: int, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.down = nn.Linear(channels, width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, channels)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Adapt a tensor of any shape with its channels at `axis`; shape and type stay the same."""
        cells = x.movedim(self.axis, -1)
        change: Tensor = self.up(functional.relu(self.norm(self.down(cells))))
        return x + change.movedim(-1, self.axis).to(x.dtype)


def blocks_to_adapt(
    backbone: FrozenBackbone, train_from: str, canvases: Sequence[HW]
) -> list[Block]:
    """Return the blocks from the stage that ends with level `train_from` on. Raises ConfigError."""
    first = first_stage(backbone, train_from)
    blocks = [b for b in find_blocks(backbone, min(canvases)) if b.stage >= first]
    if not blocks:
        raise ConfigError(
            f"setting 'backbone.adapters': {backbone.name} has no block to adapt"
            + (f" from {train_from} on" if train_from else "")
            + "; choose another backbone, or train without"
        )
    return blocks


def inserted_adapters(
    net: FrozenBackbone | CutNet,
    blocks: Sequence[Block],
    device: torch.device,
    *,
    reduction: int,
    min_width: int,
    seed: int,
) -> nn.ModuleList:
    """Draw an adapter of max(min_width, channels // reduction) channels for each block, and insert it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = [
            Adapter(b.channels, max(min_width, b.channels // reduction), b.axis) for b in blocks
        ]
    adapters = nn.ModuleList(drawn).to(device)
    for block, adapter in zip(blocks, adapters, strict=True):
        net.insert(block.name, adapter)
    return adapters


@contextmanager
def counted_flops(adapters: nn.ModuleList) -> Iterator[list[int]]:
    """Yield a list of the floating-point operations of each call of an adapter within the block."""
    found: list[int] = []

    def count(adapter: Adapter, _args: object, out: Tensor) -> None:
        found.append(4 * out.numel() * adapter.down.out_features)

    hooks = [adapter.register_forward_hook(count) for adapter in adapters]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


class AdaptedBackbone(nn.Module):
    """A frozen backbone with adapters: (B, H, W, 3) uint8 canvases -> FeaturePyramid.

    The pyramid has a graph from the first adapter on. The object takes `backbone` over, which stays as it
    is: in eval mode, with its weights, its statistics and its precision. An adapter of max(min_width,
    channels // reduction) channels acts on the output of each block, and so on everything computed from it,
    from the stage that ends with level `train_from` on ("": from the first stage). seed: the seed that the
    adapters are drawn from. canvases: sizes of the canvases to come. blocks: the names of the modules that
    are adapted.

    Only the adapters have parameters and state. Raises ConfigError for a level that the backbone lacks, and
    where no block is found.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        train_from: str = "",
        *,
        reduction: int,
        min_width: int,
        seed: int,
        canvases: Sequence[HW],
    ) -> None:
        super().__init__()
        self.spec = backbone.spec
        blocks = blocks_to_adapt(backbone, train_from, canvases)
        self.blocks = tuple(block.name for block in blocks)
        drawn = {"reduction": reduction, "min_width": min_width, "seed": seed}
        self.adapters = inserted_adapters(backbone, blocks, backbone.device, **drawn)
        # A tuple hides the backbone from torch: it is not saved, moved or set to another memory format.
        self._frozen = (backbone,)

    def forward(self, canvases: Tensor, content_hw: Sequence[HW]) -> FeaturePyramid:
        """Compute the pyramid with a graph.

        canvases: (B, H, W, 3) uint8 on this module's device. content_hw: B sizes in px.
        """
        return self._frozen[0].pyramid(canvases, content_hw)

    @property
    def frozen(self) -> FrozenBackbone:
        """The backbone that the adapters are in."""
        return self._frozen[0]

    def flops(self, canvas_hw: HW) -> int:
        """Count the adapters' floating-point operations for one canvas; multiply and add count as two."""
        canvas = torch.zeros((1, *canvas_hw, 3), dtype=torch.uint8, device=self._frozen[0].device)
        with counted_flops(self.adapters) as found, torch.no_grad():
            self(canvas, [canvas_hw])
        return sum(found)
