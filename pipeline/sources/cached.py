"""The source of pyramids from a cache."""

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
    """A source that decodes cached maps on the device; neither images nor a backbone are in memory."""

    def __init__(
        self,
        reader: BatchReader,
        codec: Codec | PairedCodec,
        device: torch.device,
        workers: int = 1,
        prefetch: int = 4,
    ) -> None:
        """Read with `reader`, and decode with the cache's codec, which is on the device."""
        self.reader, self._codec, self._device = reader, codec, device
        self._workers, self._prefetch = workers, prefetch

    def load(self, batches: Sequence[Sequence[SampleId]]) -> Iterator[Loaded]:
        """Yield the batches, which threads read ahead."""
        for batch in load_batches(
            self.reader, batches, workers=self._workers, prefetch=self._prefetch
        ):
            decode = partial(batch.decode, self._codec, self._device)
            yield Loaded(batch.samples, batch.placements, decode)

    @property
    def skipped(self) -> frozenset[SampleId]:
        # Threads that read ahead add to the set meanwhile; they cannot interrupt list().
        return frozenset(list(self.reader.skipped))
