"""From canvases to shards: canvases pass through the backbone and the codec to a writing thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...cache.background import BackgroundWriter
from ...cache.codecs.clipping import ClippingCounts
from ...cache.codecs.codec import Codec
from ...cache.errors import FeatureError
from ...cache.format.header import CacheHeader
from ...cache.format.records import OK, SampleEntry
from ...cache.layout import Shard
from ...cache.pyramid import FeaturePyramid
from ..backbones.frozen import FrozenBackbone
from ..dataset.images.canvases import Canvases, CanvasRecipe, rendered
from ..machines.progress import ProgressLine, progress_line, shown_rate
from .reuse import Reused


def write_shards(
    out: Path,
    header: CacheHeader,
    shards: Sequence[Shard],
    recipe: CanvasRecipe,
    backbone: FrozenBackbone,
    codec: Codec,
    workers: int,
    reused: Reused,
    wrote: Callable[[int], None] | None = None,
) -> None:
    """Write all views of every image of `shards`, from the backbone or from `reused`, shard after shard.

    wrote: a function called in the writing thread with the size in bytes of each sample; an exception that
    it raises ends the writing. Without it a progress line shows the samples and bytes written.
    """
    views = tuple(range(len(header.layout.views)))
    images = (image for shard in shards for image in shard.images if image.id not in reused.ids)
    batch_size = header.key.batch_size
    clipping = ClippingCounts(codec)
    with ExitStack() as stack:
        if wrote is None:
            line = stack.enter_context(progress_line("extract", samples_of(header, shards)))
            wrote = _Counter(line).wrote
        canvases = stack.enter_context(
            closing(rendered(recipe, ((image, views) for image in images), workers))
        )
        writer = stack.enter_context(BackgroundWriter(out, header, shards, 4 * batch_size, wrote))
        for shard in shards:
            for known, run in groupby(shard.images, lambda image: image.id in reused.ids):
                if known:
                    for entry, frames in reused.samples(run, views):
                        writer.put_frames(entry, frames)
                    continue
                samples = _samples(islice(canvases, len(list(run))))
                while batch := list(islice(samples, batch_size)):
                    for entry, maps in _features(batch, backbone, clipping):
                        writer.put(entry, maps)
    clipping.tell()


def samples_of(header: CacheHeader, shards: Sequence[Shard]) -> int:
    """Return the number of samples of `shards`, over all views."""
    return sum(len(shard.images) for shard in shards) * len(header.layout.views)


class _Counter:
    """A count of the written bytes, which updates the progress line from the writing thread."""

    def __init__(self, progress: ProgressLine) -> None:
        self._progress = progress
        self._bytes = 0

    def wrote(self, stored_bytes: int) -> None:
        self._bytes += stored_bytes
        line = self._progress
        line.advance()
        written = shown_rate(self._bytes / line.seconds, "MB/s")
        line.note(f"{line.speed('samples/s')}, {written}")


_Sample = tuple[SampleEntry, str, npt.NDArray[np.uint8]]


def _samples(canvases: Iterator[Canvases]) -> Iterator[_Sample]:
    """Yield (entry, file name, pixels (H, W, 3)) for each view of each image.

    A failed image takes its slot in the batch as an empty canvas, so that its neighbours' features are
    the same, bit for bit, as when it is retried.
    """
    for one in canvases:
        for view, placement in enumerate(one.placements):
            entry = SampleEntry(one.image.id, view, one.failure or OK, placement, one.sha256)
            if one.pixels is None:
                yield entry, one.image.file_name, np.zeros((*placement.canvas_hw, 3), np.uint8)
            else:
                yield entry, one.image.file_name, one.pixels[view]


def _features(
    batch: Sequence[_Sample], backbone: FrozenBackbone, clipping: ClippingCounts
) -> Iterator[tuple[SampleEntry, list[npt.NDArray[np.generic]]]]:
    """Yield each sample's entry, with its vector, and its maps in the stored type, from one pass.

    The whole batch takes one pass of the backbone. A failed sample has no maps and no vector.
    """
    device = next(backbone.parameters()).device
    canvases = torch.from_numpy(np.stack([pixels for _, _, pixels in batch])).to(device)
    contents = [entry.placement.content_hw for entry, _, _ in batch]
    pyramid = backbone(canvases, contents)
    encoded = _encoded(pyramid, batch, clipping.codec)
    clipping.add(encoded, pyramid.canvas_hw, [entry.ok for entry, _, _ in batch])
    stored = [x.cpu().numpy() for x in encoded]
    vectors = _vectors(pyramid, batch)
    for k, (entry, _, _) in enumerate(batch):
        if entry.ok:
            yield replace(entry, vector=vectors[k]), [x[k] for x in stored]
        else:
            yield entry, []


def _encoded(pyramid: FeaturePyramid, batch: Sequence[_Sample], codec: Codec) -> tuple[Tensor, ...]:
    try:
        return codec.encode(pyramid)
    except FeatureError as error:
        entry, name, _ = batch[error.index]
        raise FeatureError(
            f"image {name} (id {entry.image_id}), view {entry.view}, {error}",
            error.index,
        ) from error


def _vectors(pyramid: FeaturePyramid, batch: Sequence[_Sample]) -> list[bytes]:
    """Return the image vectors as they are stored; they are empty where the pyramid has none.

    Raises FeatureError where a vector is NaN or infinite.
    """
    if pyramid.vector is None:
        return [b""] * len(batch)
    rows = pyramid.vector.cpu().numpy().astype("<f4")
    for k, (entry, name, _) in enumerate(batch):
        if entry.ok and not np.isfinite(rows[k]).all():
            raise FeatureError(
                f"image {name} (id {entry.image_id}), view {entry.view}: its vector is NaN or infinite; "
                "check the image and the weights, or leave out --image-vectors and --tokens",
                k,
            )
    return [row.tobytes() for row in rows]
