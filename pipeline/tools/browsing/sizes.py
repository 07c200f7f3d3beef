"""The disk space that a cache takes, by canvas and level, from its sample tables, in either store."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from ....cache.format.records import read_record, read_samples
from ....cache.layout import Shard
from ....cache.reader import FeatureCache


def sizes(cache: FeatureCache) -> dict[str, Any]:
    """Return, by canvas and level, the bytes of the frames and of the same maps before compression.

    Raises CorruptCache.
    """
    levels = cache.header.key.levels.levels
    stored = {b.name: np.zeros(len(levels), np.int64) for b in cache.header.layout.buckets}
    samples: Counter[str] = Counter()
    for shard in cache.header.layout.shards:
        lengths = _frame_lengths(cache, shard)
        samples[shard.bucket.name] += len(lengths)
        stored[shard.bucket.name] += lengths.sum(axis=0)
    rows = [
        {
            "canvas": bucket.name,
            "level": level.name,
            "samples": samples[bucket.name],
            "bytes": int(stored[bucket.name][k]),
            "raw": cache.header.raw_bytes(level, bucket) * samples[bucket.name],
        }
        for bucket in cache.header.layout.buckets
        for k, level in enumerate(levels)
    ]
    return {"rows": rows, "whole": cache.manifest.stored_bytes}


def _frame_lengths(cache: FeatureCache, shard: Shard) -> npt.NDArray[np.int64]:
    """Return the length in bytes of each frame, (samples that have maps, levels)."""
    record = read_record(
        cache.root, cache.header.id, shard.name, cache.manifest.records[shard.name]
    )
    levels = len(cache.header.key.levels.levels)
    table = read_samples(cache.root, record, levels, len(shard.images) * len(cache.views))
    lengths = [
        [length for _, length, _ in chunks]
        for chunks, ok in zip(table.chunks, table.ok, strict=True)
        if ok
    ]
    return np.array(lengths, dtype=np.int64).reshape(-1, levels)
