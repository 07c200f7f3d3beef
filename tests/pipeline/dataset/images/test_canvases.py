"""Decoding in other processes gives what decoding here gives, and stops when it is told to."""

import os
import subprocess
import sys
import time
from contextlib import closing
from itertools import islice

import numpy as np
import pytest

from fdet.cache.errors import FdetError
from fdet.cache.layout import ImageEntry
from fdet.cache.reader import FeatureCache
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.dataset.images import canvases
from fdet.pipeline.dataset.images.canvases import CanvasRecipe, recipe_of, render, rendered
from fdet.pipeline.dataset.images.decoding import draw_canvas, load_image
from fdet.pipeline.dataset.images.views import ResizeRule, parse_views

VIEWS = parse_views("plain,hflip,scale=0.7..1.4,crop=0.5")


@pytest.fixture
def recipe(dataset):
    return CanvasRecipe(dataset.parent / "images", ResizeRule(96, 96, True, 32), VIEWS, seed=3)


@pytest.fixture
def images(dataset):
    return load_annotations(dataset)[0].images


def test_workers_render_the_same_canvases_in_the_same_order(recipe, images):
    jobs = [(image, (0, 2, 3)) for image in images] * 2
    here, there = list(rendered(recipe, jobs, 0)), list(rendered(recipe, jobs, 2))
    assert [c.image for c in here] == [image for image, _ in jobs]
    for mine, theirs in zip(here, there, strict=True):
        assert (mine.image, mine.placements, mine.sha256) == (
            theirs.image,
            theirs.placements,
            theirs.sha256,
        )
        assert mine.pixels.shape == (3, 96, 96, 3)
        assert np.array_equal(mine.pixels, theirs.pixels)


def test_every_canvas_shows_what_its_placement_says(recipe, images):
    for image in images[:3]:
        upright, sha256 = load_image(recipe.folder / image.file_name)
        made = render(recipe, image, (0, 1, 3))
        assert made.placements == tuple(recipe.place(image, view) for view in (0, 1, 3))
        assert made.sha256 == sha256
        for pixels, placement in zip(made.pixels, made.placements, strict=True):
            assert np.array_equal(pixels, draw_canvas(upright, placement))


def test_closing_early_ends_the_workers(recipe, images):
    endless = ((images[k % len(images)], (0,)) for k in range(10**9))
    started = time.monotonic()
    with closing(rendered(recipe, endless, 2)) as canvases_of:
        first = list(islice(canvases_of, 3))
    assert [c.image for c in first] == list(images[:3])
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_cannot_be_read_is_a_result_and_no_error(workers, recipe, images):
    absent = ImageEntry(99, "absent.png", (64, 64))
    jobs = [(images[0], (0,)), (absent, (0, 1)), (images[1], (0,))]
    good, failed, after = rendered(recipe, jobs, workers)
    assert (failed.pixels, failed.sha256, failed.failure) == (None, "", "no such file")
    assert len(failed.placements) == 2, "a failed image keeps its places"
    assert good.pixels is not None and after.pixels is not None
    assert (good.failure, after.failure) == ("", "")


def test_a_file_of_another_size_is_a_failure(recipe, images):
    wrong = ImageEntry(1, images[0].file_name, (50, 60))
    assert "expected (50, 60)" in render(recipe, wrong, (0,)).failure


def end_at_once(*_):
    os._exit(1)


def test_a_worker_that_dies_is_one_clear_error(recipe, images, monkeypatch):
    monkeypatch.setattr(canvases, "render", end_at_once)
    with pytest.raises(FdetError, match="a decoding process, or the one that starts them, died"):
        list(rendered(recipe, [(images[0], (0,))], 1))


def test_the_recipe_of_a_cache_renders_its_canvases_again(exact_cache, dataset):
    cache = FeatureCache.open(exact_cache)
    recipe = recipe_of(cache.header.key, dataset.parent / "images")
    for image in cache.header.layout.images:
        again = render(recipe, image, (0, 1))
        for view, placement in enumerate(again.placements):
            entry = cache.entry(image.id, view)
            assert (entry.placement, entry.sha256) == (placement, again.sha256)


def test_workers_import_no_torch():
    code = "import sys, fdet.pipeline.dataset.images.canvases; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
