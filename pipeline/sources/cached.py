"""Pyramids from the cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch

from ...cache.codecs.codec import Codec
from ...cache.loader import BatchReader, load_batches
from ...cache.pairs import PairedCodec
from ...cache.sampler import SampleId
from .source import Loaded


class CachedSource:
    """Maps from the cache, decoded on the device; neither images nor backbone are in memory."""

    def __init__(
        self,
        reader: BatchReader,
        codec: Codec | PairedCodec,
        device: torch.device,
        workers: int = 1,
        prefetch: int = 4,
    ) -> None:
        """codec: the cache's, on the device."""
        self.reader, self._codec, self._device = reader, codec, device
        self._workers, self._prefetch = workers, prefetch

    def load(self, batches: Sequence[Sequence[SampleId]]) -> Iterator[Loaded]:
        """Reads ahead in threads."""
        for batch in load_batches(
            self.reader, batches, workers=self._workers, prefetch=self._prefetch
        ):
            decode = partial(batch.decode, self._codec, self._device)
            yield Loaded(batch.samples, batch.placements, decode)

    @property
    def skipped(self) -> frozenset[SampleId]:
        # Threads that read ahead add to it; list() is one step to them.
        return frozenset(list(self.reader.skipped))
