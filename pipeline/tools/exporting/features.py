"""The part of an exported detector from normalised canvases to the pyramid that its neck takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ....cache.codecs.codec import Codec
from ....cache.key import CacheKey
from ....cache.pairs import PairedCodec
from ....cache.pyramid import FeaturePyramid
from ...backbones.adapted import AdaptedBackbone
from ...backbones.frozen import FrozenBackbone
from ...backbones.paired import PairedBackbone
from ...backbones.taps import HW, TappedNet
from ...sources.live import Backbone


class Features(nn.Module):
    """The backbone of a run, or both, and what the codec of its cache does to the maps.

    keys: the key of the cache of each backbone.
    """

    def __init__(
        self,
        backbone: Backbone | PairedBackbone,
        codec: Codec | PairedCodec | None,
        keys: Sequence[CacheKey],
        canvas_hw: HW,
    ) -> None:
        super().__init__()
        parts: Sequence[Backbone] = (
            (backbone.first, backbone.second)
            if isinstance(backbone, PairedBackbone)
            else (backbone,)
        )
        self.nets = nn.ModuleList(_net_of(part, canvas_hw) for part in parts)
        # They act within the net, by hooks that do not register them.
        self.adapters = nn.ModuleList(
            part.adapters for part in parts if isinstance(part, AdaptedBackbone)
        )
        self.specs = [part.spec for part in parts]
        self.tokens = [_has_tokens(part) for part in parts]
        self.keys, self.codec, self.canvas_hw = keys, codec, canvas_hw

    def forward(self, images: Tensor, sizes: Tensor) -> FeaturePyramid:
        """Return the pyramid of canvases (B, 3, H, W) that are normalised for the first backbone.

        sizes: (B, 2) int64, the rows and columns of each canvas that show its image.
        """
        pyramids = []
        for net, spec, key, tokens in zip(
            self.nets, self.specs, self.keys, self.tokens, strict=True
        ):
            x = self._normalised(images, sizes, key)
            vector = None
            if tokens:
                tapped = cast(TappedNet, net)
                computed, vector = tapped.with_tokens(x.to(next(net.parameters()).dtype))
            else:
                computed = net(x)
            maps = tuple(m.float() for m in computed)
            pyramids.append(FeaturePyramid(spec, maps, self.canvas_hw, vector))
        pyramid = pyramids[0].joined_with(pyramids[1]) if len(pyramids) == 2 else pyramids[0]
        return pyramid if self.codec is None else self.codec.passed(pyramid)

    def _normalised(self, images: Tensor, sizes: Tensor, key: CacheKey) -> Tensor:
        """Return canvases as a backbone takes them; the padding stays zero."""
        first = self.keys[0]
        if (key.mean, key.std) == (first.mean, first.std):
            return images
        mean, std, other_mean, other_std = (
            images.new_tensor(v)[:, None, None] for v in (first.mean, first.std, key.mean, key.std)
        )
        rows, columns = (torch.arange(side, device=images.device) for side in self.canvas_hw)
        shown = (rows[:, None] < sizes[:, :1, None]) & (columns < sizes[:, 1:, None])
        return (images * std + mean - other_mean) / other_std * shown[:, None]


def _has_tokens(backbone: Backbone) -> bool:
    """Return whether the pyramid has the tokens beside the maps too, for a tail that takes them."""
    vector = backbone.image_vector if isinstance(backbone, FrozenBackbone) else None
    return vector is not None and vector.of_tokens


def _net_of(backbone: Backbone, canvas_hw: HW) -> TappedNet:
    inner = backbone.frozen if isinstance(backbone, AdaptedBackbone) else backbone
    return inner.net_for(canvas_hw)
