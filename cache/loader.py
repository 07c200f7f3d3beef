"""The loader of batches from a cache, which threads read and check ahead of the training step.

Threads suffice because reading, decompression and copying release Python's lock; nothing is pickled and
no process can hang. At most `prefetch` batches wait, in their stored form.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .codecs.codec import Codec
from .errors import CorruptCache, OnCorrupt
from .joined import ReadableCache
from .pairs import PairedCache, PairedCodec
from .placement import Placement
from .pyramid import FeaturePyramid
from .resident import ResidentSamples, token_bytes
from .sampler import SampleId

log = logging.getLogger(__name__)

_MAX_LOGGED = 20


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """B samples of one canvas as stored: maps[l] is (B, *stored shape) in the stored type.

    B is smaller than the number requested, down to 0, where damaged samples are skipped. tokens: (B, C), the
    vectors of a cache whose vectors are tokens.
    """

    samples: tuple[SampleId, ...]
    placements: tuple[Placement, ...]
    maps: tuple[Tensor, ...]
    canvas_hw: tuple[int, int]
    tokens: Tensor | None = None

    def decode(self, codec: Codec | PairedCodec, device: torch.device | str) -> FeaturePyramid:
        """Move the stored form to the device, where the codec's arrays lie, and decode it there."""
        maps = [x.to(device, non_blocking=True) for x in self.maps]
        pyramid = codec.decode(maps, self.canvas_hw)
        if self.tokens is None:
            return pyramid
        return replace(pyramid, vector=self.tokens.to(device, non_blocking=True))


@dataclass(frozen=True)
class BatchReader:
    """A reader of batches from a cache, which may be shared between threads.

    pin: whether maps are put into page-locked memory, from which they are copied to the device
    asynchronously. resident: the samples that are kept once they have been read. on_corrupt: "skip" leaves
    a damaged sample out of its batch, adds it to `skipped` (the reason by sample) and logs it.
    """

    cache: ReadableCache | PairedCache
    pin: bool = False
    resident: ResidentSamples | None = None
    on_corrupt: OnCorrupt = "raise"
    skipped: dict[SampleId, str] = field(default_factory=dict)

    def read(self, samples: Sequence[SampleId]) -> EncodedBatch:
        """Read samples of one bucket. Raises MissingSample, and CorruptCache unless damage is skipped."""
        layout = self.cache.header.layout
        canvas_hw = layout.buckets[layout.bucket_of(samples[0][0])].canvas_hw
        wanted = [sample for sample in samples if sample not in self.skipped]
        try:
            maps, placements = self._maps(wanted, samples[0][0])
        except CorruptCache:
            if self.on_corrupt == "raise":
                raise
            wanted = [sample for sample in wanted if self._sound(sample)]
            maps, placements = self._maps(wanted, samples[0][0])
        tokens = None
        if token_bytes(self.cache.header):
            *own, tokens = maps
            maps = tuple(own)
        return EncodedBatch(tuple(wanted), tuple(placements), maps, canvas_hw, tokens)

    def _maps(
        self, samples: Sequence[SampleId], like: int
    ) -> tuple[tuple[Tensor, ...], list[Placement]]:
        """Return the maps, then tokens where there are any, and the placements; as `_from_disk` does."""
        if self.resident is None or not samples:
            return self._from_disk(samples, like)
        absent = [sample for sample in dict.fromkeys(samples) if sample not in self.resident]
        if absent:
            self.resident.keep(absent, *self._from_disk(absent, like))
        maps, placements = self.resident.batch(samples)
        if self.pin and maps[0].device.type == "cpu":
            maps = tuple(x.pin_memory() for x in maps)
        return maps, placements

    def _from_disk(
        self, samples: Sequence[SampleId], like: int
    ) -> tuple[tuple[Tensor, ...], list[Placement]]:
        """Read samples from the bucket of image `like`."""
        maps = self.cache.empty_maps(like, len(samples))
        tensors = tuple(torch.from_numpy(x) for x in maps)
        if self.pin:
            tensors = tuple(torch.empty_like(x, pin_memory=True) for x in tensors)
            maps = [x.numpy() for x in tensors]
        placements = self.cache.read_into(samples, maps) if samples else []
        if token_bytes(self.cache.header):
            tensors = (*tensors, torch.from_numpy(self.cache.vectors(samples)))
        return tensors, placements

    def _sound(self, sample: SampleId) -> bool:
        if self.resident is not None and sample in self.resident:
            return True
        try:
            self._from_disk([sample], sample[0])
        except CorruptCache as error:
            self.skipped[sample] = str(error)
            if len(self.skipped) <= _MAX_LOGGED:
                log.warning("skipped, %d so far: %s", len(self.skipped), error)
            return False
        return True


def load_batch(cache: ReadableCache | PairedCache, samples: Sequence[SampleId]) -> EncodedBatch:
    """Read, verify and stack samples of one bucket; raises as FeatureCache.read_into does."""
    return BatchReader(cache).read(samples)


def load_batches(
    reader: BatchReader,
    batches: Sequence[Sequence[SampleId]],
    *,
    workers: int = 1,
    prefetch: int = 4,
) -> Iterator[EncodedBatch]:
    """Yield the batches in their order, whatever the number of reading threads."""
    pending: deque[Future[EncodedBatch]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="fdet-loader") as pool:
        try:
            for samples in batches:
                pending.append(pool.submit(reader.read, samples))
                if len(pending) > prefetch:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
