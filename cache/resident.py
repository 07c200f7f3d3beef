"""Encoded samples kept in memory, of this machine or of the device, once they have been read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .format.header import CacheHeader
from .layout import Layout
from .placement import Placement
from .sampler import SampleId


def resident_bytes(header: CacheHeader, *others: CacheHeader) -> int:
    """Return the memory in bytes that all samples of a cache need in their stored form.

    others: the headers of caches that are read alongside it, for the same samples.
    """
    maps = sum(
        len(bucket.images) * len(header.layout.views) * of.raw_bytes(level, bucket)
        for bucket in header.layout.buckets
        for of in (header, *others)
        for level in of.key.levels.levels
    )
    return maps + len(header.layout.images) * len(header.layout.views) * token_bytes(header)


def token_bytes(header: CacheHeader) -> int:
    """Return the bytes of the tokens of a sample, which are read with its maps; 0 where a cache has none."""
    vector = header.key.image_vector
    return vector.nbytes if vector is not None and vector.of_tokens else 0


class ResidentSamples:
    """Memory on a device for every sample of a cache, filled as samples are read and never emptied.

    others: the headers of caches that are read alongside it; their maps follow its own, and after these come
    tokens, where the cache has any. It may be shared between threads: a sample counts as contained only once
    all of it is there.
    """

    def __init__(self, header: CacheHeader, device: torch.device, *others: CacheHeader) -> None:
        self.device = device
        self._layout = header.layout
        self._rows = _row_numbers(header.layout)
        self._known: dict[SampleId, Placement] = {}
        views = len(header.layout.views)
        self._maps = [
            [
                torch.empty(
                    (len(bucket.images) * views, *of.stored_shape(level, bucket)),
                    dtype=getattr(torch, of.dtype),
                    device=device,
                )
                for of in (header, *others)
                for level in of.key.levels.levels
            ]
            for bucket in header.layout.buckets
        ]
        if values := token_bytes(header) // 4:
            for maps, bucket in zip(self._maps, header.layout.buckets, strict=True):
                rows = len(bucket.images) * views
                maps.append(torch.empty((rows, values), device=device))

    def __contains__(self, sample: SampleId) -> bool:
        return sample in self._known

    def keep(
        self, samples: Sequence[SampleId], maps: Sequence[Tensor], placements: Sequence[Placement]
    ) -> None:
        """Store maps[l] (B, *stored shape) and placements of samples of one bucket."""
        rows = self._index(samples)
        for stored, x in zip(self._stored(samples), maps, strict=True):
            stored[rows] = x.to(self.device)
        self._known.update(zip(samples, placements, strict=True))

    def batch(self, samples: Sequence[SampleId]) -> tuple[tuple[Tensor, ...], list[Placement]]:
        """Return maps[l] (B, *stored shape) on the device, and placements, of samples of one bucket."""
        rows = self._index(samples)
        maps = tuple(stored.index_select(0, rows) for stored in self._stored(samples))
        return maps, [self._known[sample] for sample in samples]

    def _stored(self, samples: Sequence[SampleId]) -> list[Tensor]:
        return self._maps[self._layout.bucket_of(samples[0][0])]

    def _index(self, samples: Sequence[SampleId]) -> Tensor:
        views = len(self._layout.views)
        rows = [self._rows[image_id] * views + view for image_id, view in samples]
        return torch.tensor(rows, device=self.device)


def _row_numbers(layout: Layout) -> dict[int, int]:
    """Return the position of each image within its bucket."""
    return {
        image.id: position
        for bucket in layout.buckets
        for position, image in enumerate(bucket.images)
    }
