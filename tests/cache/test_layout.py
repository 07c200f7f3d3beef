import json

import pytest

from fdet.cache.errors import MissingSample
from fdet.cache.layout import Bucket, ImageEntry, Layout

from .handmade import make_layout

IMAGE = ImageEntry(1, "1.png", (8, 8))


def test_every_sample_has_a_slot_of_its_own_in_the_order_of_images_and_views():
    layout = make_layout()
    expected = []
    for number, bucket in enumerate(layout.buckets):
        for position, image in enumerate(bucket.images):
            for view in range(2):
                shard = position // bucket.images_per_shard
                slot = 2 * (position % bucket.images_per_shard) + view
                expected.append((image.id, view, number, shard, slot))
    found = []
    for image in layout.images:
        for view in range(2):
            number, slot = layout.locate(image.id, view)
            shard = layout.shards[number]
            found.append((image.id, view, layout.buckets.index(shard.bucket), shard.index, slot))
    assert found == expected
    assert len({(number, *rest) for _, _, number, *rest in found}) == len(found)


def test_shards_cut_each_bucket_and_lose_no_image():
    layout = make_layout()
    assert [shard.name for shard in layout.shards] == ["32x32-0", "32x32-1", "16x48-0"]
    assert [shard.number for shard in layout.shards] == [0, 1, 2]
    assert [len(shard.images) for shard in layout.shards] == [3, 2, 2]
    assert tuple(image for shard in layout.shards for image in shard.images) == layout.images


@pytest.mark.parametrize("images", range(1, 9))
@pytest.mark.parametrize("per_shard", range(1, 5))
def test_located_images_are_in_the_shard_that_lists_them(images, per_shard):
    entries = tuple(ImageEntry(k, f"{k}.png", (8, 8)) for k in range(images))
    per_shard = min(per_shard, images)
    layout = Layout(("plain",), (Bucket((8, 8), per_shard, entries),))
    assert len(layout.shards) == -(-images // per_shard)
    for image in entries:
        number, slot = layout.locate(image.id, 0)
        assert layout.shards[number].images[slot] is image
        assert layout.samples(layout.shards[number])[slot] == (image.id, 0)


def test_the_last_shard_of_a_bucket_has_as_many_slots_as_the_others_but_uses_fewer():
    layout = make_layout()
    assert [layout.slots(shard.bucket) for shard in layout.shards] == [6, 6, 4]
    assert [len(layout.samples(shard)) for shard in layout.shards] == [6, 4, 4]
    assert layout.samples(layout.shards[1]) == [(31, 0), (31, 1), (38, 0), (38, 1)]


def test_images_are_found_by_id():
    layout = make_layout()
    assert layout.image(17).file_name == "1.png"
    assert (layout.bucket_of(17), layout.bucket_of(4)) == (0, 1)
    assert 17 in layout
    assert 18 not in layout


@pytest.mark.parametrize("method", ["image", "bucket_of"])
def test_an_unknown_image_is_missing(method):
    with pytest.raises(MissingSample, match="image 18 is not in this cache"):
        getattr(make_layout(), method)(18)


@pytest.mark.parametrize(
    ("image_id", "view", "why"),
    [(18, 0, "image 18"), (17, 2, "view 2: the cache has 2 views"), (17, -1, "view -1")],
)
def test_an_unknown_sample_is_missing(image_id, view, why):
    with pytest.raises(MissingSample, match=why):
        make_layout().locate(image_id, view)


def test_a_layout_survives_json():
    layout = make_layout()
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


@pytest.mark.parametrize("column", ["image_ids", "file_names", "image_hw"])
def test_columns_of_different_length_are_refused(column):
    data = make_layout().to_json()
    data["buckets"][0][column].pop()
    with pytest.raises(ValueError, match="zip"):
        Layout.from_json(data)


@pytest.mark.parametrize(
    ("views", "buckets", "why"),
    [
        ((), (Bucket((8, 8), 1, (IMAGE,)),), "at least one view"),
        (("plain",), (Bucket((8, 8), 1, (IMAGE, IMAGE)),), "ids must differ"),
        (
            ("plain",),
            (Bucket((8, 8), 1, (IMAGE,)), Bucket((8, 8), 1, (ImageEntry(2, "2.png", (8, 8)),))),
            "canvases must differ",
        ),
    ],
)
def test_impossible_layouts_are_refused(views, buckets, why):
    with pytest.raises(ValueError, match=why):
        Layout(views, buckets)


@pytest.mark.parametrize(("per_shard", "images"), [(0, (IMAGE,)), (1, ())])
def test_a_bucket_needs_images(per_shard, images):
    with pytest.raises(ValueError, match="needs images"):
        Bucket((8, 8), per_shard, images)


def test_no_shard_is_planned_for_more_images_than_there_are():
    """Its arrays would be made for them."""
    with pytest.raises(ValueError, match="a bucket of 1 image has 2 in a shard"):
        Bucket((8, 8), 2, (IMAGE,))


def test_a_part_has_its_images_in_the_given_order_and_shards_of_the_same_size():
    layout = make_layout()
    images = layout.images[1::2][::-1]
    part = layout.only(images)
    for bucket in part.buckets:
        whole = next(b for b in layout.buckets if b.canvas_hw == bucket.canvas_hw)
        assert list(bucket.images) == [i for i in images if i in whole.images]
        assert bucket.images_per_shard == min(whole.images_per_shard, len(bucket.images))
    assert part.views == layout.views and len(part.images) == len(images)
    assert layout.only(layout.images) == layout
