import math
from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pytest

from fdet.cache.errors import MissingSample
from fdet.cache.layout import Bucket, ImageEntry, Layout
from fdet.cache.sampler import Sampler, batches_by_bucket, drawn_views, plain_batches, share_of

VIEWS = ("plain", "hflip", "jitter")


def large_layout() -> Layout:
    """97 images in three buckets of different size."""
    images = [ImageEntry(5 + 3 * k, f"{k}.png", (8, 8)) for k in range(97)]
    parts = (images[:60], images[60:90], images[90:])
    canvases = ((32, 32), (32, 48), (48, 32))
    buckets = (Bucket(c, min(8, len(p)), tuple(p)) for c, p in zip(canvases, parts, strict=True))
    return Layout(VIEWS, tuple(buckets))


LAYOUT = large_layout()
IDS = [image.id for image in LAYOUT.images]


# Longer than any test looks at.
EPOCHS = 1000


def sampler(seed=0, size=4, window=0, epochs=EPOCHS, ids=IDS, **more):
    return Sampler(LAYOUT, ids, size, seed, epochs, window, **more)


def batches(seed: int = 0, epoch: int = 0, size: int = 4, window: int = 0):
    return sampler(seed, size, window).batches(epoch)


def run_of(drawing):
    """Its batches, epoch after epoch."""
    return [drawing.batches(epoch) for epoch in range(drawing.epochs)]


def bucket_of(batch):
    (number,) = {LAYOUT.bucket_of(image_id) for image_id, _ in batch}
    return number


windows = pytest.mark.parametrize("window", [0, 1, 3, 1000])


@windows
def test_the_same_seed_and_epoch_give_the_same_batches(window):
    assert batches(3, 7, window=window) == batches(3, 7, window=window)


@windows
@pytest.mark.parametrize(("seed", "epoch"), [(1, 0), (0, 1)])
def test_another_seed_or_epoch_gives_other_orders_and_other_views(seed, epoch, window):
    one = list(chain(*batches(window=window)))
    other = list(chain(*batches(seed, epoch, window=window)))
    assert [i for i, _ in one] != [i for i, _ in other]
    assert dict(one) != dict(other)


def test_seed_and_epoch_do_not_merge_into_one_number():
    assert batches(1, 2) != batches(2, 1)
    assert batches(0, 1) != batches(1, 0)


sizes = pytest.mark.parametrize("size", [1, 2, 4, 7, 40, 64])


@windows
@sizes
def test_no_batch_is_partial(size, window):
    """A step of few images would move the weights as far as one of many."""
    found = chain(*run_of(sampler(size=size, window=window, epochs=12)))
    assert {(len(batch), bucket_of(batch)) for batch in found} == {(size, k) for k in range(3)}


def streams(seed, window, epochs):
    """Of each bucket and epoch, what is drawn: in windows, batches of 1 come in the order of a stream."""
    found = run_of(sampler(seed, 1, window or 1000, epochs))
    return [[[s for s in chain(*e) if bucket_of([s]) == k] for e in found] for k in range(3)]


@windows
@sizes
def test_a_bucket_is_a_stream_over_the_epochs_that_is_cut_into_batches(size, window):
    found = run_of(sampler(3, size, window, epochs=12))
    for bucket, drawn in enumerate(streams(3, window, 12)):
        ids = {image.id for image in LAYOUT.buckets[bucket].images}
        assert all(len(epoch) == len(ids) == len(ids & dict(epoch).keys()) for epoch in drawn)
        stream, end, begun = list(chain(*drawn)), 0, 0
        for own, epoch in zip(found, drawn, strict=True):
            end += len(epoch)
            starts = range(begun, end - size + 1, size)
            begun += len(starts) * size
            cut = [stream[k : k + size] for k in starts]
            of_bucket = [batch for batch in own if bucket_of(batch) == bucket]
            assert sorted(of_bucket) == sorted(cut)
            assert of_bucket == cut or not window


@sizes
@pytest.mark.parametrize("epochs", [1, 2, 9])
def test_steps_are_counted_without_making_batches(size, epochs):
    drawing = sampler(size=size, epochs=epochs)
    counts = [len(found) for found in run_of(drawing)]
    before = [sum(counts[:epoch]) for epoch in range(epochs + 1)]
    assert [drawing.steps_before(epoch) for epoch in range(epochs + 1)] == before
    assert drawing.steps == sum(counts)
    of_steps = [epoch for epoch, count in enumerate(counts) for _ in range(count)]
    assert [drawing.epoch_of(step) for step in range(drawing.steps)] == of_steps
    assert drawing.epoch_of(drawing.steps) == epochs


@windows
@pytest.mark.parametrize("size", [7, 8, 21, 22, 1000])
@pytest.mark.parametrize("epochs", [1, 3])
def test_a_bucket_that_fills_no_batch_in_a_whole_run_gives_one_at_its_end(size, epochs, window):
    drawing = sampler(size=size, window=window, epochs=epochs)
    found = run_of(drawing)
    images = [[image.id for image in bucket.images] for bucket in LAYOUT.buckets]
    short = {k for k, ids in enumerate(images) if len(ids) * epochs < size}
    partial = {bucket_of(batch): batch for batch in found[-1] if len(batch) < size}
    assert partial.keys() == short
    assert sum(len(batch) < size for batch in chain(*found)) == len(short)
    for bucket, batch in partial.items():
        assert Counter(i for i, _ in batch) == dict.fromkeys(images[bucket], epochs)
    lengths = [{len(batch) for batch in chain(*found) if bucket_of(batch) == k} for k in range(3)]
    assert drawing.largest == {k: max(of_bucket) for k, of_bucket in enumerate(lengths)}


def test_a_batch_may_take_several_epochs_and_an_epoch_may_have_none():
    few = IDS[-3:]
    drawing = sampler(size=8, epochs=9, ids=few)
    found = run_of(drawing)
    assert [len(epoch) for epoch in found] == [0, 0, 1, 0, 0, 1, 0, 1, 0]
    assert [drawing.epoch_of(step) for step in range(4)] == [2, 5, 7, 9]
    assert {i for i, _ in found[2][0]} == set(few)


def test_the_views_of_an_epoch_do_not_hang_on_the_window():
    drawn = [dict(chain(*batches(size=1, window=window))) for window in (0, 1, 4)]
    assert drawn[0] == drawn[1] == drawn[2]


@pytest.mark.parametrize("size", [1, 4, 5])
@pytest.mark.parametrize("window", [1, 3, 5])
def test_an_epoch_reads_a_window_of_shards_to_the_end_before_the_next(window, size):
    """But for what is left of it, less than a batch of each bucket."""
    found = batches(size=size, window=window)
    shards = [LAYOUT.locate(image_id, 0).shard for batch in found for image_id, _ in batch]
    order = list(dict.fromkeys(shards))
    assert order != sorted(order), "the shards themselves are to be shuffled"
    kinds = len(LAYOUT.buckets)
    for place in range(len(shards)):
        behind = Counter(shards[place:])
        begun = [shard for shard in behind if behind[shard] < shards.count(shard)]
        left = sum(behind[shard] for shard in begun)
        biggest = window * max(len(shard.images) for shard in LAYOUT.shards)
        assert left <= biggest + kinds * (size - 1)


REPEATS = np.array([1 + (k % 5) * 0.3 + (k == 7) * 4.5 for k in range(97)])


def repeated(seed=0, epoch=0, size=1, window=0, repeats=REPEATS, ids=IDS):
    return sampler(seed, size, window, ids=ids, repeats=repeats).batches(epoch)


def times(batches):
    return Counter(image_id for image_id, _ in chain(*batches))


@windows
def test_factors_of_one_change_nothing(window):
    assert repeated(3, 7, 4, window, np.ones(97)) == batches(3, 7, 4, window)


@windows
def test_an_image_comes_as_often_as_its_factor_rounded_up_or_down(window):
    for epoch in range(5):
        counts = times(repeated(0, epoch, window=window))
        assert counts.keys() == set(IDS)
        for image_id, factor in zip(IDS, REPEATS, strict=True):
            # Within a bucket factors are stretched a little to a whole sum.
            assert abs(counts[image_id] - factor) < 1.2


def test_an_image_comes_as_often_as_its_factor_in_the_long_run():
    epochs = 400
    total = Counter()
    for epoch in range(epochs):
        total += times(repeated(0, epoch))
    sums = Counter()
    for image_id, factor in zip(IDS, REPEATS, strict=True):
        sums[LAYOUT.bucket_of(image_id)] += factor - 1
    for image_id, factor in zip(IDS, REPEATS, strict=True):
        extra = sums[LAYOUT.bucket_of(image_id)]
        expected = 1 + (factor - 1) * math.ceil(extra - 1e-9) / extra
        # A draw of a share p has a deviation of at most 1/2.
        assert abs(total[image_id] / epochs - expected) < 5 * 0.5 / math.sqrt(epochs)
    assert total[IDS[0]] == epochs, "an image without a rare class is never repeated"


@windows
def test_epochs_with_repeated_images_draw_as_many_samples(window):
    found = [repeated(seed, epoch, 1, window) for seed in (0, 1) for epoch in range(9)]
    assert len({len(epoch) for epoch in found}) == 1
    assert len({tuple(sorted(times(epoch).items())) for epoch in found}) > 5


@windows
@sizes
def test_batches_of_repeated_images_are_full_and_counted_too(size, window):
    drawing = sampler(1, size, window, epochs=7, repeats=REPEATS)
    found = run_of(drawing)
    assert {len(batch) for batch in chain(*found)} == {size}
    before = [sum(map(len, found[:epoch])) for epoch in range(8)]
    assert [drawing.steps_before(epoch) for epoch in range(8)] == before
    drawn = Counter(chain(*(chain(*repeated(1, epoch, 1, window)) for epoch in range(7))))
    left = drawn - Counter(chain(*chain(*found)))
    assert left.total() == drawn.total() - size * drawing.steps < 3 * size


def test_every_time_an_image_comes_it_has_a_view_of_its_own():
    views = [[v for i, v in chain(*repeated(0, epoch)) if i == IDS[7]] for epoch in range(60)]
    counts = Counter(chain(*views))
    assert all(5 <= len(of_epoch) <= 8 for of_epoch in views)
    assert sum(len(set(of_epoch)) > 1 for of_epoch in views) > 50
    assert min(counts.values()) > sum(counts.values()) / 5
    assert all(view in of_epoch for view, of_epoch in zip(plain_views(60), views, strict=True))


def plain_views(epochs):
    """Of one image, as it comes without repetition."""
    return [int(drawn_views([IDS[7]], len(VIEWS), 0, epoch)[0]) for epoch in range(epochs)]


def test_how_often_images_come_does_not_hang_on_their_order():
    turned = repeated(0, 3, ids=IDS[::-1], repeats=REPEATS[::-1])
    assert Counter(chain(*turned)) == Counter(chain(*repeated(0, 3)))


def test_images_are_shuffled_within_their_window():
    within = [batches(0, epoch, 1, window=1) for epoch in range(2)]
    for shard in LAYOUT.shards:
        orders = [
            [i for batch in epoch for i, _ in batch if LAYOUT.locate(i, 0).shard == shard.number]
            for epoch in within
        ]
        if len(shard.images) > 3:
            assert orders[0] != orders[1]


def test_all_views_of_an_image_come_in_the_long_run():
    seen = Counter(sample for epoch in range(60) for batch in batches(0, epoch) for sample in batch)
    assert set(seen) == {(image_id, view) for image_id in IDS for view in range(len(VIEWS))}
    # 60 draws of 1/3: beyond 5 standard deviations something is wrong.
    assert min(seen.values()) >= 2 and max(seen.values()) <= 38


def test_the_buckets_are_mixed_over_the_epoch():
    kinds = [LAYOUT.bucket_of(batch[0][0]) for batch in batches()]
    assert sum(a != b for a, b in pairwise(kinds)) > 4


def test_batches_of_small_buckets_do_not_always_come_last():
    epochs = [[bucket_of(batch) for batch in batches(0, epoch, size=7)] for epoch in range(20)]
    assert min(epoch.index(2) for epoch in epochs) < 4


def test_only_the_given_images_are_drawn():
    some = IDS[::5]
    found = {i for batch in sampler(size=1, ids=some).batches(0) for i, _ in batch}
    assert found == set(some)


def test_plain_batches_keep_the_order_within_a_bucket_and_the_plain_view():
    order = IDS[::-1]
    found = plain_batches(LAYOUT, order, 4)
    assert {view for batch in found for _, view in batch} == {0}
    for bucket in range(3):
        ids = [i for batch in found for i, _ in batch if LAYOUT.bucket_of(i) == bucket]
        assert ids == [i for i in order if LAYOUT.bucket_of(i) == bucket]
    assert Counter(i for batch in found for i, _ in batch) == Counter(IDS)


def test_nothing_makes_no_batch():
    assert batches_by_bucket(LAYOUT, [], 4) == []
    assert sampler(ids=[]).batches(0) == [] and sampler(ids=[]).steps == 0


def test_an_unknown_image_is_missing():
    with pytest.raises(MissingSample, match="image 6"):
        plain_batches(LAYOUT, [5, 6], 4)


def test_the_view_of_an_image_does_not_hang_on_the_others():
    every = dict(chain(*sampler(3, 1).batches(5)))
    fewer = dict(chain(*sampler(3, 1, ids=IDS[::2]).batches(5)))
    assert fewer == {image_id: every[image_id] for image_id in IDS[::2]}


def test_views_are_drawn_evenly_and_afresh_each_epoch():
    ids = range(3000)
    counts = Counter(drawn_views(ids, 3, 0, 0).tolist())
    assert all(abs(counts[view] - 1000) < 120 for view in range(3))
    pairs = Counter(zip(drawn_views(ids, 3, 0, 0), drawn_views(ids, 3, 0, 1), strict=True))
    assert all(abs(count - 333) < 80 for count in pairs.values())
    assert len(pairs) == 9


SHARES = (0.0, 0.01, 0.1, 0.25, 0.5, 0.9, 1.0)


def test_a_share_has_its_size_and_keeps_the_order():
    for fraction in SHARES:
        chosen = share_of(IDS, fraction)
        assert len(chosen) == max(1, round(fraction * len(IDS)))
        assert chosen == tuple(i for i in IDS if i in set(chosen))


def test_a_smaller_share_is_part_of_a_larger_one():
    for less, more in pairwise(SHARES):
        assert set(share_of(IDS, less)) <= set(share_of(IDS, more))


def test_a_share_is_always_the_same_in_whichever_order_the_images_come():
    assert share_of(IDS, 0.3) == share_of(tuple(IDS), 0.3)
    assert set(share_of(IDS[::-1], 0.3)) == set(share_of(IDS, 0.3))
    # A list of ids written out: it may not change from one version to the next.
    assert share_of(range(1, 21), 0.25) == (3, 8, 9, 12, 16)


def test_a_share_is_spread_over_all_images():
    chosen = share_of(range(4000), 0.25)
    assert all(abs(sum(a <= i < a + 1000 for i in chosen) - 250) < 70 for a in range(0, 4000, 1000))


@windows
def test_of_fewer_views_the_first_ones_alone_are_drawn(window):
    drawn = [
        {
            v
            for epoch in range(20)
            for b in sampler(window=window, views=n).batches(epoch)
            for _, v in b
        }
        for n in (0, 1, 2, 3)
    ]
    assert drawn == [{0, 1, 2}, {0}, {0, 1}, {0, 1, 2}]


def test_views_do_not_change_the_order_of_the_images():
    plain, two = (sampler(views=n).batches(0) for n in (1, 2))
    assert [[i for i, _ in b] for b in plain] == [[i for i, _ in b] for b in two]
