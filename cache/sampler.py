"""The order of an epoch and the view of each image: from (seed, epoch) alone.

Neither the number of workers nor anything drawn before plays a part.
"""

from __future__ import annotations

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
) -> list[list[SampleId]]:
    """One (image id, view) for each image, shuffled; every batch from one bucket, none dropped.

    Every epoch has the same number of batches: of a bucket at most one is partial. window 0: shuffled
    over everything. Otherwise the shards are shuffled, and then the images of `window` shards at a
    time, for disks and networks where random reads are dear; what is left of a window fills the first
    batches of the next. views: draw among the first of them alone, 0 for all.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(image_ids))
    drawn = drawn_views(image_ids, views or len(layout.views), seed, epoch)
    if window == 0:
        shuffled = [(image_ids[k], int(drawn[k])) for k in order]
        batches = bucketed(layout, shuffled, batch_size)
        # Left as they come, the partial batches of all buckets would end every epoch.
        return [batches[k] for k in rng.permutation(len(batches))]
    places = {number: place for place, number in enumerate(rng.permutation(len(layout.shards)))}
    windows = [places[layout.shard_of(image_id)] // window for image_id in image_ids]
    by_window = sorted(order, key=lambda k: windows[k])
    return bucketed(layout, [(image_ids[k], int(drawn[k])) for k in by_window], batch_size)


def drawn_views(
    image_ids: Sequence[int], views: int, seed: int, epoch: int
) -> npt.NDArray[np.uint64]:
    """A view for each image from (seed, epoch, image id): another image's absence changes nothing.

    The mixing function is SplitMix64's (Steele et al., OOPSLA 2014).
    """
    salt = np.random.default_rng([seed, epoch, 1]).integers(2**63, dtype=np.uint64)
    mixed = np.asarray(image_ids, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ salt
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))) % np.uint64(views)


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
