"""What an extraction costs: scaled from a part that is really made again."""

import json

import pytest

from fdet.cache.codecs.codec import codec_files, codec_of
from fdet.cache.errors import InputError
from fdet.cache.reader import FeatureCache
from fdet.pipeline.backbones.loading import load_backbone_of
from fdet.pipeline.dataset.images.canvases import recipe_of
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.comparison.extraction import (
    NAME,
    Trial,
    evenly,
    extraction_cost,
    scaled,
)
from fdet.pipeline.tools.comparison.options import CompareOptions

from ...quick import quick


def test_two_sizes_give_the_fixed_part_and_the_part_an_image():
    assert scaled((10, 3.0), (50, 7.0), 1000) == pytest.approx(2.0 + 1000 * 0.1)
    assert scaled((10, 3.0), (50, 7.0), 50) == 7.0


def test_where_more_images_took_no_longer_the_time_is_in_proportion():
    assert scaled((10, 8.0), (50, 7.0), 100) == 14.0
    assert scaled((1, 2.0), (1, 3.0), 1) == 3.0


@pytest.mark.parametrize(("count", "most"), [(12, 64), (12, 12), (12, 5), (12, 1)])
def test_the_sample_lies_evenly_over_all_images(count, most, exact_cache):
    images = FeatureCache.open(exact_cache).header.layout.images[:count]
    chosen = evenly(images, most)
    places = [images.index(image) for image in chosen]
    assert len(places) == min(count, most)
    steps = {b - a for a, b in zip(places, [*places[1:], count], strict=True)}
    assert max(steps) - min(steps) <= 1


@pytest.mark.parametrize("codec", ["fp32", "int5"])
def test_a_part_of_a_cache_made_again_has_the_same_bytes(codec, dataset, tmp_path):
    """So what is timed is the extraction, and the samples are written as they were."""
    extract(quick(dataset, tmp_path / "c", codec=codec))
    cache = FeatureCache.open(tmp_path / "c")
    header = cache.header
    images = evenly(header.layout.images, 5)
    trial = Trial(
        header,
        b"{}",
        recipe_of(header.key, dataset.parent / "images"),
        load_backbone_of(header.key, "cpu"),
        codec_of(cache.root, header.key),
        codec_files(cache.root, header.key),
        0,
    )
    assert trial.seconds(tmp_path / "part", images) > 0
    part = FeatureCache.open(tmp_path / "part")
    assert list(part.image_ids) == [image.id for image in images]
    for image in images:
        for view in (0, 1):
            (entry, frames), (_, expected) = (c.stored(image.id, view) for c in (part, cache))
            assert frames == expected
            assert entry.sha256 == cache.entry(image.id, view).sha256


@pytest.fixture
def options(dataset, quick_caches, tmp_path):
    return lambda **more: CompareOptions(
        config=tmp_path / "c.toml",
        cache=quick_caches["zarr"],
        val=quick_caches["hdf5"],
        out=tmp_path,
        **{"images": dataset.parent / "images", "threads": 1, **more},
    )


def test_seconds_that_the_user_gives_are_not_measured_and_not_kept(options, tmp_path):
    cost = extraction_cost(options(extraction_seconds=7.5, images=None), 1)
    assert (cost.seconds, cost.images, cost.measured) == (7.5, 12, 0)
    assert cost.origin == "given by --extraction-seconds"
    assert list(tmp_path.iterdir()) == []


def test_what_was_measured_is_read_again_for_the_same_cache_device_and_threads(options, tmp_path):
    own = options()
    cache = FeatureCache.open(own.cache).header.id
    kept = {"seconds": 5.0, "images": 12, "measured": 12, "cache": cache}
    (tmp_path / NAME).write_text(json.dumps({**kept, "device": "auto", "threads": 1}))
    assert extraction_cost(own, 1).seconds == 5.0
    (tmp_path / NAME).write_text("{}")
    with pytest.raises(InputError, match=r"extraction.json: not a measured extraction; delete it"):
        extraction_cost(own, 1)


@pytest.mark.slow
def test_measured_in_a_process_of_its_own_and_nothing_is_left_but_the_figure(options, tmp_path):
    kept = {"seconds": 5.0, "images": 12, "measured": 12, "cache": "another", "device": "auto"}
    (tmp_path / NAME).write_text(json.dumps({**kept, "threads": 1}))
    (tmp_path / ".extraction").mkdir()
    (tmp_path / ".extraction" / "of a killed one").touch()
    cost = extraction_cost(options(), 1)
    assert (cost.images, cost.measured) == (12, 12)
    assert 0 < cost.seconds != 5.0
    assert cost.origin == "measured: 12 images were extracted again, all of them"
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert extraction_cost(options(), 1) == cost
