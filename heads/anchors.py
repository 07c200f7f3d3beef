"""Anchors of a pyramid, by torchvision's generator, which is fed with sizes instead of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from ..cache.pyramid import FeaturePyramid, PyramidSpec
from .memo import Memo

Sizes = tuple[tuple[int, int], ...]


class Anchors(AnchorGenerator):  # type: ignore[misc]
    """torchvision's generator, and the anchors of the canvases that it has seen."""

    def __init__(
        self, sizes: tuple[tuple[float, ...], ...], ratios: tuple[tuple[float, ...], ...]
    ) -> None:
        super().__init__(sizes, ratios)
        self.of_canvas = Memo(self._of_canvas)

    def _of_canvas(self, canvas_hw: tuple[int, int], sizes: Sizes, device: torch.device) -> Tensor:
        """sizes: rows and columns of each level. torchvision would take the type of the maps."""
        maps = [torch.empty((0, 0, *hw), device=device) for hw in sizes]
        canvas = ImageList(torch.empty((0, 0, *canvas_hw)), [canvas_hw])
        (anchors,) = self(canvas, maps)
        assert isinstance(anchors, Tensor)
        return anchors


def anchor_generator(
    spec: PyramidSpec, scales: Sequence[float], ratios: Sequence[float]
) -> Anchors:
    """Anchors whose side is scale × stride px for each level, at each ratio (height / width)."""
    sizes = tuple(tuple(scale * stride for scale in scales) for stride in spec.strides)
    return Anchors(sizes, (tuple(ratios),) * len(spec.levels))


def canvas_anchors(generator: Anchors, pyramid: FeaturePyramid) -> Tensor:
    """(A, 4) float32 canvas px, level after level, whatever the maps' type; not to be changed."""
    sizes = tuple((x.shape[-2], x.shape[-1]) for x in pyramid.maps)
    return generator.of_canvas(pyramid.canvas_hw, sizes, pyramid.maps[0].device)


def image_anchors(generator: Anchors, pyramid: FeaturePyramid) -> list[Tensor]:
    """The same once an image, as torchvision wants them."""
    return [canvas_anchors(generator, pyramid)] * len(pyramid)
