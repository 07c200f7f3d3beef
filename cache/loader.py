"""Batches from a cache, read and checked by threads ahead of the training step.

Threads serve because reading, decompression and copying leave Python's lock; nothing is pickled and
no process can hang. At most `prefetch` batches wait, in their stored form.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from .codecs import FloatCodec
from .placement import Placement
from .pyramid import FeaturePyramid, PyramidSpec
from .reader import FeatureCache
from .sampler import SampleId


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """B samples of one canvas as stored: maps[l] (B, C_l, H_l, W_l) in the stored type."""

    samples: tuple[SampleId, ...]
    placements: tuple[Placement, ...]
    maps: tuple[Tensor, ...]

    def decode(
        self, codec: FloatCodec, spec: PyramidSpec, device: torch.device | str
    ) -> FeaturePyramid:
        """Move the stored form to the device and decode it there."""
        maps = tuple(codec.decode(x.to(device, non_blocking=True)) for x in self.maps)
        return FeaturePyramid(spec, maps, self.placements[0].canvas_hw)


def load_batch(cache: FeatureCache, samples: Sequence[SampleId], pin: bool = False) -> EncodedBatch:
    """Read and verify samples of one bucket; raises as FeatureCache.read_into does.

    pin: straight into page-locked memory, for a copy to the device that nobody waits for.
    """
    maps = cache.empty_maps(samples[0][0], len(samples))
    tensors = tuple(torch.from_numpy(x) for x in maps)
    if pin:
        tensors = tuple(torch.empty_like(x, pin_memory=True) for x in tensors)
        maps = [x.numpy() for x in tensors]
    placements = cache.read_into(samples, maps)
    return EncodedBatch(tuple(samples), tuple(placements), tensors)


def load_batches(
    cache: FeatureCache,
    batches: Sequence[Sequence[SampleId]],
    *,
    workers: int = 1,
    prefetch: int = 4,
    pin: bool = False,
) -> Iterator[EncodedBatch]:
    """The batches in their order, whatever the number of reading threads."""
    pending: deque[Future[EncodedBatch]] = deque()
    waiting = iter(batches)
    with ThreadPoolExecutor(workers, thread_name_prefix="fdet-loader") as pool:
        try:
            for samples in waiting:
                pending.append(pool.submit(load_batch, cache, samples, pin))
                if len(pending) > prefetch:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
