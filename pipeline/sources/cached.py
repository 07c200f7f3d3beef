"""Pyramids from the cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch

from ...cache.codecs import get_codec
from ...cache.loader import BatchReader, load_batches
from ...cache.sampler import SampleId
from .source import Loaded


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
