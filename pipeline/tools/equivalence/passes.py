"""The passes of the backbone as the extraction formed them, and a sample of them from all over a cache.

A pass takes the next samples of one shard in the order of its slots. The bits of a feature are the same
where its pass has the same samples.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby, islice
from typing import TypeVar

import numpy as np

from ....cache.format.header import CacheHeader
from ....cache.layout import Layout, Shard
from ....cache.sampler import SampleId

Pass = tuple[SampleId, ...]
T = TypeVar("T")


def passes_of(layout: Layout, shard: Shard, batch_size: int) -> list[Pass]:
    """Return all passes of a shard; none spans two shards, so the last one may be smaller."""
    samples = layout.samples(shard)
    return [tuple(samples[k : k + batch_size]) for k in range(0, len(samples), batch_size)]


def sampled_passes(
    header: CacheHeader, failed: Collection[int], samples: int, seed: int
) -> list[Pass]:
    """Return passes that hold at least `samples` samples, or all passes, determined by `seed` alone.

    Buckets take turns, and within a bucket its shards do. failed: the images without features; a pass of
    only these is left out.
    """

    def shuffled(shard: Shard) -> Iterator[Pass]:
        passes = passes_of(header.layout, shard, header.key.batch_size)
        for k in np.random.default_rng([seed, shard.number]).permutation(len(passes)):
            if any(image_id not in failed for image_id, _ in passes[k]):
                yield passes[k]

    buckets = []
    for _, members in groupby(header.layout.shards, lambda shard: shard.bucket.name):
        shards = list(members)
        order = np.random.default_rng([seed, shards[0].number]).permutation(len(shards))
        buckets.append(_in_turn([shuffled(shards[k]) for k in order]))
    chosen: list[Pass] = []
    count = 0
    for one in _in_turn(buckets):
        chosen.append(one)
        count += len(one)
        if count >= samples:
            break
    return chosen


def _in_turn(queues: Sequence[Iterator[T]]) -> Iterator[T]:
    """Yield the first item of each queue, then the second of each, and so on."""
    waiting = deque(queues)
    while waiting:
        queue = waiting.popleft()
        for item in islice(queue, 1):
            yield item
            waiting.append(queue)
