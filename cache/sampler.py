"""The order of an epoch, how often each image comes and in which views: from (seed, epoch) alone.

Neither the number of workers nor anything drawn before plays a part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .layout import Layout

SampleId = tuple[int, int]


def epoch_batches(
    layout: Layout,
    image_ids: Sequence[int],
    batch_size: int,
    seed: int,
    epoch: int,
    window: int = 0,
    views: int = 0,
    repeats: npt.NDArray[np.float64] | None = None,
) -> list[list[SampleId]]:
    """One (image id, view) for each image, shuffled; every batch from one bucket, none dropped.

    Every epoch has the same number of batches: of a bucket at most one is partial. window 0: shuffled
    over everything. Otherwise the shards are shuffled, and then the images of `window` shards at a
    time, for disks and networks where random reads are dear; what is left of a window fills the first
    batches of the next. views: draw among the first of them alone, 0 for all. repeats: how often
    each image comes in the mean of all epochs, at least 1; each time in a view of its own.
    """
    rng = np.random.default_rng([seed, epoch])
    times = np.ones(len(image_ids), dtype=np.int64)
    if repeats is not None:
        times += extra_times(layout, image_ids, repeats - 1, seed, epoch)
    samples = _samples(image_ids, times, views or len(layout.views), seed, epoch)
    order = rng.permutation(len(samples))
    if window == 0:
        batches = bucketed(layout, [samples[k] for k in order], batch_size)
        # Left as they come, the partial batches of all buckets would end every epoch.
        return [batches[k] for k in rng.permutation(len(batches))]
    places = {number: place for place, number in enumerate(rng.permutation(len(layout.shards)))}
    windows = [places[layout.shard_of(image_id)] // window for image_id, _ in samples]
    by_window = sorted(order, key=lambda k: windows[k])
    return bucketed(layout, [samples[k] for k in by_window], batch_size)


def _samples(
    image_ids: Sequence[int], times: npt.NDArray[np.int64], views: int, seed: int, epoch: int
) -> list[SampleId]:
    """Each image as often as it comes, with its views."""
    samples: list[SampleId] = []
    for time in range(times.max(initial=0)):
        again = [image_id for image_id, n in zip(image_ids, times, strict=True) if n > time]
        drawn = drawn_views(again, views, seed, epoch, time)
        samples += zip(again, drawn.tolist(), strict=True)
    return samples


def extra_times(
    layout: Layout,
    image_ids: Sequence[int],
    wanted: npt.NDArray[np.float64],
    seed: int,
    epoch: int,
) -> npt.NDArray[np.int64]:
    """(images,): how often each comes beyond once: what is wanted of it, rounded up or down by chance.

    Over a bucket always equally often, the sum of what is wanted rounded up, so that every epoch has as
    many batches: by systematic sampling (Madow, 1949) along an order of its own for each epoch, where an
    image's chance is what is wanted of it, stretched to that sum.
    """
    ids = np.asarray(image_ids, dtype=np.uint64)
    keys = _mixed(ids, [seed, epoch, 2])
    # Of 20 bits, so that it is added without rounding.
    start = int(np.random.default_rng([seed, epoch, 3]).integers(2**20)) / 2**20
    buckets = np.array([layout.bucket_of(image_id) for image_id in image_ids], dtype=np.int64)
    times = np.zeros(len(image_ids), dtype=np.int64)
    for bucket in np.unique(buckets):
        rows = np.flatnonzero(buckets == bucket)
        rows = rows[np.lexsort((ids[rows], keys[rows]))]
        times[rows] = _systematic(wanted[rows], start)
    return times


def _systematic(weights: npt.NDArray[np.float64], start: float) -> npt.NDArray[np.int64]:
    """Whole numbers next to the weights, whose sum is that of the weights rounded up. start: 0 to 1."""
    total, ends = math.ceil(math.fsum(weights)), np.cumsum(weights)
    if not total:
        return np.zeros(len(weights), dtype=np.int64)
    marks = np.floor(ends / ends[-1] * total + start)
    times: npt.NDArray[np.int64] = np.diff(marks, prepend=0.0).astype(np.int64)
    return times


def drawn_views(
    image_ids: Sequence[int], views: int, seed: int, epoch: int, time: int = 0
) -> npt.NDArray[np.uint64]:
    """A view for each image from (seed, epoch, image id): another image's absence changes nothing.

    time: 0 when it comes first in the epoch, 1 when it comes again.
    """
    ids = np.asarray(image_ids, dtype=np.uint64)
    return _mixed(ids, [seed, epoch, 1, time]) % np.uint64(views)


def _mixed(ids: npt.NDArray[np.uint64], source: Sequence[int]) -> npt.NDArray[np.uint64]:
    """64 random bits for each id. The mixing function is SplitMix64's (Steele et al., OOPSLA 2014)."""
    salt = np.random.default_rng(source).integers(2**63, dtype=np.uint64)
    mixed = ids * np.uint64(0x9E3779B97F4A7C15) ^ salt
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    last: npt.NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return last


def share_of(image_ids: Sequence[int], fraction: float) -> tuple[int, ...]:
    """At least one, in their order; those of a smaller share are among a larger one's."""
    keys = drawn_views(image_ids, 2**32, 0, 0)
    count = max(1, round(fraction * len(image_ids)))
    chosen = np.sort(np.lexsort((np.asarray(image_ids), keys))[:count])
    return tuple(image_ids[k] for k in chosen)


def plain_batches(
    layout: Layout, image_ids: Sequence[int], batch_size: int
) -> list[list[SampleId]]:
    """The plain view of every image, in the given order."""
    return bucketed(layout, [(image_id, 0) for image_id in image_ids], batch_size)


def bucketed(layout: Layout, samples: Sequence[SampleId], batch_size: int) -> list[list[SampleId]]:
    """Cut a sequence into batches of one canvas each, keeping its order as far as that allows."""
    batches: list[list[SampleId]] = []
    filling: dict[int, list[SampleId]] = {}
    for sample in samples:
        bucket = layout.bucket_of(sample[0])
        batch = filling.setdefault(bucket, [])
        batch.append(sample)
        if len(batch) == batch_size:
            batches.append(filling.pop(bucket))
    return batches + list(filling.values())
