"""The source of pyramids from a backbone in the loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...cache.errors import InputError
from ...cache.format.header import CacheHeader
from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid
from ...cache.sampler import SampleId
from ..backbones.adapted import AdaptedBackbone
from ..backbones.frozen import FrozenBackbone
from ..backbones.trained import TrainedBackbone
from ..dataset.images.canvases import Canvases, recipe_of, rendered
from ..machines.devices import pinned
from .source import Loaded

Backbone = FrozenBackbone | AdaptedBackbone | TrainedBackbone


class LiveSource:
    """A source that runs a backbone on the canvases that the cache was made from.

    A frozen backbone, with adapters or without, takes as many images in a pass as the extraction did. With
    one image in a pass, the features are the same to the last bit on the same device with the same number of
    threads. A trained backbone takes the whole batch.
    """

    def __init__(
        self,
        header: CacheHeader,
        images: Path,
        backbone: Backbone,
        workers: int = 1,
    ) -> None:
        self._header, self._backbone, self._workers = header, backbone, workers
        self._recipe = recipe_of(header.key, images)
        self._device = next(backbone.parameters()).device

    def load(self, batches: Sequence[Sequence[SampleId]]) -> Iterator[Loaded]:
        """Yield the batches, whose images worker processes decode ahead."""
        layout = self._header.layout
        jobs = ((layout.image(image_id), (view,)) for batch in batches for image_id, view in batch)
        with closing(rendered(self._recipe, jobs, self._workers)) as canvases:
            for batch in batches:
                shown = [next(canvases) for _ in batch]
                pixels = pinned(
                    torch.from_numpy(np.stack([_pixels(one) for one in shown])), self._device
                )
                placements = tuple(one.placements[0] for one in shown)
                yield Loaded(tuple(batch), placements, partial(self._pyramid, pixels, placements))

    @property
    def skipped(self) -> frozenset[SampleId]:
        return frozenset()

    def _pyramid(self, pixels: Tensor, placements: Sequence[Placement]) -> FeaturePyramid:
        on_device = pixels.to(self._device, non_blocking=True)
        contents = [placement.content_hw for placement in placements]
        whole = isinstance(self._backbone, TrainedBackbone)
        step = len(pixels) if whole else self._header.key.batch_size
        passes = [
            self._backbone(on_device[k : k + step], contents[k : k + step])
            for k in range(0, len(pixels), step)
        ]
        maps = tuple(torch.cat(x) for x in zip(*(p.maps for p in passes), strict=True))
        vectors = [p.vector for p in passes if p.vector is not None]
        vector = torch.cat(vectors) if vectors else None
        return FeaturePyramid(passes[0].spec, maps, passes[0].canvas_hw, vector)


def _pixels(canvases: Canvases) -> npt.NDArray[np.uint8]:
    if canvases.pixels is None:
        raise InputError(f"image {canvases.image.file_name}: {canvases.failure}")
    pixels: npt.NDArray[np.uint8] = canvases.pixels[0]
    return pixels
