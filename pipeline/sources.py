"""Where a training step's pyramid comes from: the cache, or the frozen backbone in the loop.

Everything else about the batch (order, views, placements, targets) is the same code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from ..cache.codecs import get_codec
from ..cache.errors import InputError
from ..cache.header import CacheHeader
from ..cache.loader import BatchReader, load_batches
from ..cache.placement import Placement
from ..cache.pyramid import FeaturePyramid
from ..cache.sampler import SampleId
from ..heads.types import Targets
from .annotations import Annotations
from .backbones import FrozenBackbone
from .canvases import Canvases, recipe_of, rendered


class Loaded(NamedTuple):
    """Pyramids and placements of the samples that could be read."""

    samples: tuple[SampleId, ...]
    pyramid: FeaturePyramid
    placements: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """B samples on the device: what a step of a head takes. B is 0 where all were skipped."""

    image_ids: tuple[int, ...]
    pyramid: FeaturePyramid
    placements: tuple[Placement, ...]
    targets: tuple[Targets, ...]


class PyramidSource(Protocol):
    """Pyramids for batches of (image id, view); each batch of one bucket."""

    def pyramids(self, batches: Sequence[Sequence[SampleId]]) -> Iterator[Loaded]:
        """One item a batch, in order."""
        ...

    @property
    def skipped(self) -> int:
        """Samples left out as damaged so far."""
        ...


class CachedSource:
    """Maps from the cache, decoded on the device; neither images nor backbone are in memory."""

    def __init__(
        self, reader: BatchReader, device: torch.device, workers: int = 1, prefetch: int = 4
    ) -> None:
        self.reader, self._device = reader, device
        self._workers, self._prefetch = workers, prefetch
        self._codec = get_codec(reader.cache.header.key.codec)

    def pyramids(self, batches: Sequence[Sequence[SampleId]]) -> Iterator[Loaded]:
        """Reads ahead in threads."""
        spec = self.reader.cache.header.key.levels
        for batch in load_batches(
            self.reader, batches, workers=self._workers, prefetch=self._prefetch
        ):
            pyramid = batch.decode(self._codec, spec, self._device)
            yield Loaded(batch.samples, pyramid, batch.placements)

    @property
    def skipped(self) -> int:
        return len(self.reader.skipped)


class OnlineSource:
    """The frozen backbone in the loop, on the canvases that the cache was made from.

    A pass takes as many images as one of the extraction did: with one, the features are the same to
    the last bit on the same device with the same number of threads.
    """

    def __init__(
        self, header: CacheHeader, images: Path, backbone: FrozenBackbone, workers: int = 1
    ) -> None:
        self._header, self._backbone, self._workers = header, backbone, workers
        self._recipe = recipe_of(header.key, images)
        self._device = next(backbone.parameters()).device

    def pyramids(self, batches: Sequence[Sequence[SampleId]]) -> Iterator[Loaded]:
        """Decodes images ahead in worker processes."""
        layout = self._header.layout
        jobs = ((layout.image(image_id), (view,)) for batch in batches for image_id, view in batch)
        canvases = rendered(self._recipe, jobs, self._workers)
        for batch in batches:
            pyramid, placements = self._pyramid([next(canvases) for _ in batch])
            yield Loaded(tuple(batch), pyramid, placements)

    @property
    def skipped(self) -> int:
        return 0

    def _pyramid(
        self, canvases: Sequence[Canvases]
    ) -> tuple[FeaturePyramid, tuple[Placement, ...]]:
        pixels = []
        for one in canvases:
            if one.pixels is None:
                raise InputError(f"image {one.image.file_name}: {one.failure}")
            pixels.append(one.pixels[0])
        placements = tuple(one.placements[0] for one in canvases)
        stacked = torch.from_numpy(np.stack(pixels)).to(self._device)
        contents = [placement.content_hw for placement in placements]
        step = self._header.key.batch_size
        passes = [
            self._backbone(stacked[k : k + step], contents[k : k + step])
            for k in range(0, len(pixels), step)
        ]
        maps = tuple(torch.cat(x) for x in zip(*(p.maps for p in passes), strict=True))
        return FeaturePyramid(passes[0].spec, maps, passes[0].canvas_hw), placements


def batches_from(
    source: PyramidSource,
    batches: Sequence[Sequence[SampleId]],
    annotations: Annotations,
    device: torch.device,
    min_visible: float,
) -> Iterator[Batch]:
    """Pyramids with their targets."""
    for samples, pyramid, placements in source.pyramids(batches):
        image_ids = tuple(image_id for image_id, _ in samples)
        targets = tuple(
            targets_of(annotations, image_id, placement, min_visible).to(device)
            for image_id, placement in zip(image_ids, placements, strict=True)
        )
        yield Batch(image_ids, pyramid, placements, targets)


def targets_of(
    annotations: Annotations, image_id: int, placement: Placement, min_visible: float
) -> Targets:
    """The objects of one sample: no crowds, and only what the view shows enough of."""
    objects = annotations.of_image(image_id)
    boxes = torch.from_numpy(objects.boxes.astype(np.float32))
    on_canvas = placement.to_canvas(boxes)
    visible = placement.visible_share(boxes) >= min_visible
    sized = (on_canvas[:, 2:] > on_canvas[:, :2]).all(dim=1)
    kept = visible & sized & ~torch.from_numpy(objects.crowd.copy())
    return Targets(on_canvas[kept], torch.from_numpy(objects.labels.copy())[kept])
