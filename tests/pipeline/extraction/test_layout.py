"""Planning: from sizes alone."""

import numpy as np
import pytest
from typer.testing import CliRunner

from fdet.cache.codecs.form import parse_form
from fdet.cache.format.header import CacheHeader
from fdet.cache.layout import ImageEntry
from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.pipeline.cli import app
from fdet.pipeline.dataset.images.views import ResizeRule, parse_views
from fdet.pipeline.extraction.layout import plan_layout, sample_bytes

from ...conftest import extraction
from ..quick import command

SPEC = PyramidSpec((LevelSpec("c3", 8, 40), LevelSpec("c5", 32, 320)))
RULE = ResizeRule(96, 160, False, 32)
HALF = parse_form("fp16")


def entries(count, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(50, 400, (count, 2))
    return [ImageEntry(k * 3, f"{k}.png", (int(h), int(w))) for k, (h, w) in enumerate(sizes)]


def plan(images, views="plain", shard_bytes=2**20, rule=RULE):
    return plan_layout(images, rule, parse_views(views), SPEC, HALF, shard_bytes)


def test_every_image_lies_in_the_bucket_of_its_canvas():
    images = entries(200)
    layout = plan(images)
    assert sorted(i.id for i in layout.images) == sorted(i.id for i in images)
    assert len(layout.buckets) > 2
    for bucket in layout.buckets:
        assert {RULE.canvas_hw(image.hw) for image in bucket.images} == {bucket.canvas_hw}
        positions = [images.index(image) for image in bucket.images]
        assert positions == sorted(positions), "the annotation file's order"


def test_the_layout_knows_nothing_but_the_annotations():
    """No file exists, and planning again gives the same layout."""
    assert plan(entries(50)) == plan(entries(50))
    assert plan(entries(50)) != plan(entries(50, seed=1))


def test_bytes_of_a_sample_are_those_of_its_maps():
    values = 40 * 12 * 20 + 320 * 3 * 5
    nibbles = 40 * 12 * 20 + 320 * 3 * 6  # an odd row ends with half a byte
    components = 40 * 12 * 20 + 64 * 3 * 5
    expected = {"fp32": 4 * values, "fp16": 2 * values, "int8": values, "int5": nibbles}
    expected |= {"int8+pca": values, "bf16+pca64": 2 * components}
    for name, size in expected.items():
        assert sample_bytes(SPEC, (96, 160), parse_form(name)) == size


@pytest.mark.parametrize("views", ["plain", "plain,hflip,scale=0.5x2"])
@pytest.mark.parametrize("shard_bytes", [1, 2**17, 2**20, 2**40])
def test_a_shard_keeps_to_its_size_but_holds_an_image(views, shard_bytes):
    layout = plan(entries(120), views, shard_bytes=shard_bytes)
    for shard in layout.shards:
        one = sample_bytes(SPEC, shard.bucket.canvas_hw, HALF) * len(layout.views)
        assert len(shard.images) == 1 or len(shard.images) * one <= shard_bytes
    for bucket in layout.buckets:
        one = sample_bytes(SPEC, bucket.canvas_hw, HALF) * len(layout.views)
        whole = bucket.images_per_shard == len(bucket.images)
        assert whole or (bucket.images_per_shard + 1) * one > shard_bytes


def test_the_shorter_side_alone_is_enough(dataset, tmp_path):
    """The command says in a line which limit of the longer side it takes."""
    words = [*command(dataset, tmp_path / "a"), "--short", 60]
    words = [str(word) for word in words if not str(word).startswith("--size")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    assert "--long 100: 1333/800 of --short 60, as it was not given\n" in result.stderr
    key = CacheHeader.read(tmp_path / "a").key
    assert (key.short, key.long, key.square) == (60, 100, False)
    assert extraction(dataset, tmp_path, size=None, short=60).sides == (60, 100)
    assert extraction(dataset, tmp_path, size=60).sides == (60, 60)
