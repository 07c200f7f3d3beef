"""Where a training step's pyramid comes from: the cache, or a backbone in the loop.

Everything else about the batch (order, views, placements, targets) is the same code. What a source
loads ahead is not yet a pyramid: making it is part of the step, on its device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..cache.codecs import FloatCodec, get_codec
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
from .trained_backbone import TrainedBackbone

Backbone = FrozenBackbone | TrainedBackbone
MakePyramid = Callable[[], FeaturePyramid]


class Loaded(NamedTuple):
    """What could be read of a batch; `pyramid` makes its maps, with a graph where one is wanted."""

    samples: tuple[SampleId, ...]
    placements: tuple[Placement, ...]
    pyramid: MakePyramid


@dataclass(frozen=True, slots=True)
class Batch:
    """B samples: what a step of a head takes. B is 0 where all were skipped.

    targets: on the device. pyramid: makes the maps there.
    """

    image_ids: tuple[int, ...]
    placements: tuple[Placement, ...]
    targets: tuple[Targets, ...]
    pyramid: MakePyramid


class PyramidSource(Protocol):
    """Loads batches of (image id, view); each batch of one bucket."""

    def load(self, batches: Sequence[Sequence[SampleId]]) -> Iterator[Loaded]:
        """One item a batch, in order, read ahead."""
        ...

    @property
    def skipped(self) -> frozenset[SampleId]:
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

    def load(self, batches: Sequence[Sequence[SampleId]]) -> Iterator[Loaded]:
        """Reads ahead in threads."""
        spec = self.reader.cache.header.key.levels
        for batch in load_batches(
            self.reader, batches, workers=self._workers, prefetch=self._prefetch
        ):
            decode = partial(batch.decode, self._codec, spec, self._device)
            yield Loaded(batch.samples, batch.placements, decode)

    @property
    def skipped(self) -> frozenset[SampleId]:
        # Threads that read ahead add to it; list() is one step to them.
        return frozenset(list(self.reader.skipped))


class LiveSource:
    """A backbone in the loop, on the canvases that the cache was made from.

    A pass of a frozen one takes as many images as one of the extraction did: with one, the features
    are the same to the last bit on the same device with the same number of threads. A trained one
    takes the whole batch. codec: pass the maps through it, as if they came from the cache.
    """

    def __init__(
        self,
        header: CacheHeader,
        images: Path,
        backbone: Backbone,
        workers: int = 1,
        codec: FloatCodec | None = None,
    ) -> None:
        self._header, self._backbone, self._workers = header, backbone, workers
        self._codec = codec
        self._recipe = recipe_of(header.key, images)
        self._device = next(backbone.parameters()).device

    def load(self, batches: Sequence[Sequence[SampleId]]) -> Iterator[Loaded]:
        """Decodes images ahead in worker processes."""
        layout = self._header.layout
        jobs = ((layout.image(image_id), (view,)) for batch in batches for image_id, view in batch)
        with closing(rendered(self._recipe, jobs, self._workers)) as canvases:
            for batch in batches:
                shown = [next(canvases) for _ in batch]
                pixels = _pinned(
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
        frozen = isinstance(self._backbone, FrozenBackbone)
        step = self._header.key.batch_size if frozen else len(pixels)
        passes = [
            self._backbone(on_device[k : k + step], contents[k : k + step])
            for k in range(0, len(pixels), step)
        ]
        maps = tuple(torch.cat(x) for x in zip(*(p.maps for p in passes), strict=True))
        if self._codec is not None:
            maps = tuple(self._codec.decode(self._codec.encode(x)) for x in maps)
        return FeaturePyramid(passes[0].spec, maps, passes[0].canvas_hw)


def _pixels(canvases: Canvases) -> npt.NDArray[np.uint8]:
    if canvases.pixels is None:
        raise InputError(f"image {canvases.image.file_name}: {canvases.failure}")
    pixels: npt.NDArray[np.uint8] = canvases.pixels[0]
    return pixels


def batches_from(
    source: PyramidSource,
    batches: Sequence[Sequence[SampleId]],
    annotations: Annotations,
    device: torch.device,
    min_visible: float,
) -> Iterator[Batch]:
    """What the source loads, with its targets."""
    for samples, placements, pyramid in source.load(batches):
        image_ids = tuple(image_id for image_id, _ in samples)
        targets = [
            targets_of(annotations, image_id, placement, min_visible)
            for image_id, placement in zip(image_ids, placements, strict=True)
        ]
        yield Batch(image_ids, placements, _on_device(targets, device), pyramid)


def _on_device(targets: Sequence[Targets], device: torch.device) -> tuple[Targets, ...]:
    """In two copies a batch, which wait for nothing: an ordinary one would wait for the last step."""
    if not targets:
        return ()
    counts = [len(of_image.labels) for of_image in targets]
    packed = [of_image.boxes for of_image in targets], [of_image.labels for of_image in targets]
    boxes, labels = (
        torch.split(_pinned(torch.cat(parts), device).to(device, non_blocking=True), counts)
        for parts in packed
    )
    return tuple(map(Targets, boxes, labels))


def _pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """Where a copy to that device can be made from while the host goes on."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


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
