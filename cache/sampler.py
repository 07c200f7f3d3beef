"""The batches of a run, where those of an epoch follow from (seed, epoch) and the settings alone.

Neither the number of workers nor anything drawn before plays a part.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .layout import Layout
from .once import Once

SampleId = tuple[int, int]

# place: the sort key that gives the order of the epoch.
_DRAWN = np.dtype([("place", np.uint64), ("image", np.int64), ("view", np.uint64)])


@dataclass(frozen=True)
class Sampler:
    """The batches of a run, each of one bucket. An epoch draws every image once, in one view.

    A bucket is one stream of samples, epoch after epoch, cut into batches of `batch_size`; a batch belongs
    to the epoch of its last sample. So no batch is partial: the samples of a bucket that are left over go
    on into the next epoch, and those left over at the end of the run are dropped. But a bucket that would
    fill no batch in all `epochs` gives all its samples as one smaller batch in the last epoch.

    window: 0 shuffles an epoch over all images. Otherwise the shards are shuffled, and then the images
    of `window` shards at a time, for disks and networks where random reads are expensive. views: the
    number of views to draw from, beginning with the first; 0 means all. repeats: how often each image is
    drawn in an epoch on average, at least 1; each time its view is drawn anew.
    """

    layout: Layout
    image_ids: Sequence[int]
    batch_size: int
    seed: int
    epochs: int
    window: int = 0
    views: int = 0
    repeats: npt.NDArray[np.float64] | None = None

    @property
    def steps(self) -> int:
        """The number of batches in the whole run."""
        return self.steps_before(self.epochs)

    def steps_before(self, epoch: int) -> int:
        """Return the number of batches in all epochs before this one, counted from 0."""
        full = int((epoch * self._sizes // self.batch_size).sum())
        return full + (len(self._never_full) if epoch >= self.epochs else 0)

    def epoch_of(self, step: int) -> int:
        """Return the epoch that a step belongs to, both counted from 0.

        So this is also how many epochs are over once that many steps are done. Where data are few, an
        epoch may have no step.
        """
        return bisect_right(range(self.epochs + 1), step, key=self.steps_before) - 1

    def batches(self, epoch: int) -> list[list[SampleId]]:
        """Return the batches of an epoch, counted from 0, in their order."""
        batches = [batch for k in range(len(self._buckets)) for batch in self._filled(k, epoch)]
        batches.sort(key=lambda batch: batch[["place", "image"]][-1].tolist())
        order: Iterable[int] = range(len(batches))
        if not self.window:
            # In the order of their last samples, the batches of small buckets would end every epoch.
            order = np.random.default_rng([self.seed, epoch]).permutation(len(batches)).tolist()
        return [batches[k][["image", "view"]].tolist() for k in order]

    @property
    def largest(self) -> dict[int, int]:
        """The size of the largest batch of each bucket that has images, by the number of the bucket."""
        sizes = np.minimum(self.epochs * self._sizes, self.batch_size).tolist()
        return {bucket.number: size for bucket, size in zip(self._buckets, sizes, strict=True)}

    @Once
    def _buckets(self) -> list[_Bucket]:
        """Return the buckets that have images to draw."""
        ids = np.array(self.image_ids, dtype=np.int64)
        shards = np.array([self.layout.shard_of(i) for i in self.image_ids], dtype=np.int64)
        numbers = np.array([self.layout.bucket_of(i) for i in self.image_ids], dtype=np.int64)
        repeats = np.ones(len(ids)) if self.repeats is None else self.repeats
        owned = ((number, np.flatnonzero(numbers == number)) for number in np.unique(numbers))
        return [_Bucket(int(k), ids[rows], shards[rows], repeats[rows] - 1) for k, rows in owned]

    @Once
    def _sizes(self) -> npt.NDArray[np.int64]:
        """Return the number of samples of each bucket in an epoch, (buckets,)."""
        return np.array([bucket.size for bucket in self._buckets], dtype=np.int64)

    @Once
    def _never_full(self) -> frozenset[int]:
        """Return the buckets that fill no batch in the whole run, by their position in `_buckets`."""
        return frozenset(np.flatnonzero(self.epochs * self._sizes < self.batch_size).tolist())

    def _filled(self, k: int, epoch: int) -> list[npt.NDArray[np.void]]:
        """Return the batches of a bucket that an epoch fills, beginning with samples left over before."""
        size, number = self.batch_size, epoch
        wanted = epoch * self._buckets[k].size % size + self._buckets[k].size
        stream = self._drawn(k, epoch)
        while len(stream) < wanted:
            number -= 1
            stream = np.concatenate([self._drawn(k, number), stream])
        stream = stream[-wanted:]
        if epoch + 1 == self.epochs and k in self._never_full:
            return [stream]
        return [stream[start : start + size] for start in range(0, wanted - size + 1, size)]

    def _drawn(self, k: int, epoch: int) -> npt.NDArray[np.void]:
        """Return the samples that an epoch draws from a bucket, in the epoch's order."""
        bucket, source = self._buckets[k], [self.seed, epoch]
        windows = np.zeros(len(bucket.image_ids), dtype=np.uint64)
        if self.window:
            order = np.random.default_rng([*source, 5]).permutation(len(self.layout.shards))
            windows = (order[bucket.shards] // self.window).astype(np.uint64)
        times = 1 + extra_times(bucket.image_ids, bucket.extra, self.seed, epoch)
        drawn = np.empty(times.sum(), dtype=_DRAWN)
        begun = 0
        for time in range(times.max()):
            rows = np.flatnonzero(times > time)
            ids, part = bucket.image_ids[rows], drawn[begun : begun + len(rows)]
            keys = _mixed(ids.astype(np.uint64), [*source, 4, time])
            part["place"] = windows[rows] << np.uint64(40) | keys >> np.uint64(24)
            part["image"] = ids
            views = self.views or len(self.layout.views)
            part["view"] = drawn_views(ids.tolist(), views, self.seed, epoch, time)
            begun += len(rows)
        return drawn[np.lexsort((drawn["image"], drawn["place"]))]


@dataclass(frozen=True, slots=True)
class _Bucket:
    """The images of one bucket, (n,): their ids, shards, and how often each is drawn beyond once."""

    number: int
    image_ids: npt.NDArray[np.int64]
    shards: npt.NDArray[np.int64]
    extra: npt.NDArray[np.float64]

    @property
    def size(self) -> int:
        """The number of samples in an epoch."""
        return len(self.image_ids) + _rounded_up(self.extra)


def extra_times(
    image_ids: npt.NDArray[np.int64], wanted: npt.NDArray[np.float64], seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """Return how often each image is drawn beyond once, (images,): `wanted`, rounded up or down by chance.

    The total of a bucket is always the same, the sum of `wanted` rounded up, so that the number of steps
    of a run is known. This is systematic sampling (Madow, 1949) along a new order in each epoch, where an
    image's chance is its `wanted`, stretched to that total. image_ids: the images of one bucket.
    """
    total, times = _rounded_up(wanted), np.zeros(len(wanted), dtype=np.int64)
    if not total:
        return times
    # The start has 20 bits, so that adding it does not round.
    start = int(np.random.default_rng([seed, epoch, 3]).integers(2**20)) / 2**20
    ids = image_ids.astype(np.uint64)
    rows = np.lexsort((ids, _mixed(ids, [seed, epoch, 2])))
    ends = np.cumsum(wanted[rows])
    marks = np.floor(ends / ends[-1] * total + start)
    times[rows] = np.diff(marks, prepend=0.0).astype(np.int64)
    return times


def _rounded_up(wanted: npt.NDArray[np.float64]) -> int:
    return math.ceil(math.fsum(wanted))


def drawn_views(
    image_ids: Sequence[int], views: int, seed: int, epoch: int, time: int = 0
) -> npt.NDArray[np.uint64]:
    """Return a view for each image from (seed, epoch, image id), whatever other images there are.

    time: how often the images were drawn in the epoch before; 0 at first.
    """
    ids = np.asarray(image_ids, dtype=np.uint64)
    return _mixed(ids, [seed, epoch, 1, time]) % np.uint64(views)


def _mixed(ids: npt.NDArray[np.uint64], source: Sequence[int]) -> npt.NDArray[np.uint64]:
    """Return 64 random bits for each id.

    The mixing function is that of SplitMix64 (Steele et al., OOPSLA 2014).
    """
    salt = np.random.default_rng(source).integers(2**63, dtype=np.uint64)
    mixed = ids * np.uint64(0x9E3779B97F4A7C15) ^ salt
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    last: npt.NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return last


def share_of(image_ids: Sequence[int], fraction: float) -> tuple[int, ...]:
    """Return a share of the images, at least one, in their order; larger shares hold the smaller ones."""
    keys = drawn_views(image_ids, 2**32, 0, 0)
    count = max(1, round(fraction * len(image_ids)))
    chosen = np.sort(np.lexsort((np.asarray(image_ids), keys))[:count])
    return tuple(image_ids[k] for k in chosen)


def plain_batches(
    layout: Layout, image_ids: Sequence[int], batch_size: int
) -> list[list[SampleId]]:
    """Return batches of the plain view of every image, in the given order as far as buckets allow."""
    return batches_by_bucket(layout, [(image_id, 0) for image_id in image_ids], batch_size)


def batches_by_bucket(
    layout: Layout, samples: Sequence[SampleId], batch_size: int
) -> list[list[SampleId]]:
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
