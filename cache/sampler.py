"""The batches of a run: an epoch's from (seed, epoch) and the settings alone.

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

# place: in the order of the epoch.
_DRAWN = np.dtype([("place", np.uint64), ("image", np.int64), ("view", np.uint64)])


@dataclass(frozen=True)
class Sampler:
    """A run's batches, each of one bucket. An epoch draws every image once, in one view.

    A bucket is one stream of samples, epoch after epoch, cut into batches of `batch_size`; a batch comes
    in the epoch of its last sample. So none is partial: what is left of a bucket goes on into the next
    epoch, and what is left at the end of the run is left out. But a bucket that would fill no batch in
    all `epochs` gives what it has in the last one.

    window 0: an epoch is shuffled over everything. Otherwise the shards are shuffled, and then the images
    of `window` shards at a time, for disks and networks where random reads are dear. views: draw among
    the first of them alone, 0 for all. repeats: how often each image comes in the mean of all epochs, at
    least 1; each time in a view of its own.
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
        """Batches of the whole run."""
        return self.steps_before(self.epochs)

    def steps_before(self, epoch: int) -> int:
        """Batches of all epochs before this one, counted from 0."""
        full = int((epoch * self._sizes // self.batch_size).sum())
        return full + (len(self._never_full) if epoch >= self.epochs else 0)

    def epoch_of(self, step: int) -> int:
        """In which epoch a step comes, both counted from 0; and so how many epochs are over once that
        many steps are done. Where data are few, an epoch may have no step.
        """
        return bisect_right(range(self.epochs + 1), step, key=self.steps_before) - 1

    def batches(self, epoch: int) -> list[list[SampleId]]:
        """Those of an epoch, counted from 0, in their order."""
        batches = [batch for k in range(len(self._buckets)) for batch in self._filled(k, epoch)]
        batches.sort(key=lambda batch: batch[["place", "image"]][-1].tolist())
        order: Iterable[int] = range(len(batches))
        if not self.window:
            # By their last samples, the batches of small buckets would end every epoch.
            order = np.random.default_rng([self.seed, epoch]).permutation(len(batches)).tolist()
        return [batches[k][["image", "view"]].tolist() for k in order]

    @property
    def largest(self) -> dict[int, int]:
        """By the number of a bucket, the samples of its largest batch; of all buckets with images."""
        sizes = np.minimum(self.epochs * self._sizes, self.batch_size).tolist()
        return {bucket.number: size for bucket, size in zip(self._buckets, sizes, strict=True)}

    @Once
    def _buckets(self) -> list[_Bucket]:
        """Those that have images."""
        ids = np.array(self.image_ids, dtype=np.int64)
        shards = np.array([self.layout.shard_of(i) for i in self.image_ids], dtype=np.int64)
        numbers = np.array([self.layout.bucket_of(i) for i in self.image_ids], dtype=np.int64)
        repeats = np.ones(len(ids)) if self.repeats is None else self.repeats
        owned = ((number, np.flatnonzero(numbers == number)) for number in np.unique(numbers))
        return [_Bucket(int(k), ids[rows], shards[rows], repeats[rows] - 1) for k, rows in owned]

    @Once
    def _sizes(self) -> npt.NDArray[np.int64]:
        """(buckets,): samples an epoch."""
        return np.array([bucket.size for bucket in self._buckets], dtype=np.int64)

    @Once
    def _never_full(self) -> frozenset[int]:
        """The buckets that fill no batch in the whole run, by their place among `_buckets`."""
        return frozenset(np.flatnonzero(self.epochs * self._sizes < self.batch_size).tolist())

    def _filled(self, k: int, epoch: int) -> list[npt.NDArray[np.void]]:
        """The batches of a bucket that an epoch fills, what was left before it first."""
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
        """What an epoch draws of a bucket, in the epoch's order."""
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
    """The images that are drawn of one, (n,): their ids, shards, and how often each comes beyond once."""

    number: int
    image_ids: npt.NDArray[np.int64]
    shards: npt.NDArray[np.int64]
    extra: npt.NDArray[np.float64]

    @property
    def size(self) -> int:
        """Samples an epoch."""
        return len(self.image_ids) + _rounded_up(self.extra)


def extra_times(
    image_ids: npt.NDArray[np.int64], wanted: npt.NDArray[np.float64], seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """(images,): how often each comes beyond once: what is wanted of it, rounded up or down by chance.

    Over a bucket always equally often, the sum of what is wanted rounded up, so that a run's steps are
    known: by systematic sampling (Madow, 1949) along an order of its own for each epoch, where an image's
    chance is what is wanted of it, stretched to that sum. image_ids: of one bucket.
    """
    total, times = _rounded_up(wanted), np.zeros(len(wanted), dtype=np.int64)
    if not total:
        return times
    # Of 20 bits, so that it is added without rounding.
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
