"""The passes that are checked: as extraction formed them, from all over a cache."""

from collections import Counter
from dataclasses import replace

import pytest

from fdet.pipeline.tools.equivalence.passes import passes_of, sampled_passes

from ....cache.handmade import make_header


def header_of(batch_size):
    header = make_header()
    return replace(header, key=replace(header.key, batch_size=batch_size))


def test_passes_follow_the_slots_and_never_span_two_shards():
    layout = make_header().layout
    passes = [passes_of(layout, shard, 4) for shard in layout.shards]
    assert [[len(one) for one in shard] for shard in passes] == [[4, 2], [4], [4]]
    assert [s for shard in passes for one in shard for s in one] == [
        sample for shard in layout.shards for sample in layout.samples(shard)
    ]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_all_passes_are_drawn_once_when_so_many_are_asked_for(batch_size):
    header = header_of(batch_size)
    drawn = sampled_passes(header, (), 1000, seed=3)
    every = [p for s in header.layout.shards for p in passes_of(header.layout, s, batch_size)]
    assert Counter(drawn) == Counter(every)


@pytest.mark.parametrize("seed", range(5))
def test_a_few_samples_come_from_every_bucket_and_shard(seed):
    header = header_of(1)
    layout = header.layout
    two, four = (sampled_passes(header, (), count, seed) for count in (2, 4))
    assert four[:2] == two
    assert {layout.bucket_of(image_id) for ((image_id, _),) in two} == {0, 1}
    assert {layout.locate(*sample).shard for (sample,) in four} == {0, 1, 2}


def test_the_draw_is_the_seeds():
    header = header_of(1)
    drawn = [sampled_passes(header, (), 6, seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_no_pass_more_than_the_samples_need():
    assert [len(sampled_passes(header_of(4), (), count, 0)) for count in (1, 4, 5)] == [1, 1, 2]


def test_passes_of_failed_images_alone_are_left_out():
    failed = {10, 17, 24, 31}
    single = sampled_passes(header_of(1), failed, 1000, 0)
    assert {image_id for ((image_id, _),) in single} == {38, 3, 4}
    # Of the pass (10, 17) nothing is there; 31 shares its pass with 38.
    assert ((31, 0), (31, 1), (38, 0), (38, 1)) in sampled_passes(header_of(4), failed, 1000, 0)
