"""Planning: from sizes alone, checked against the files before anything is computed."""

import logging

import numpy as np
import pytest
from PIL import Image

from fdet.cache.errors import InputError
from fdet.cache.layout import ImageEntry
from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.pipeline.plan import check_images, plan_layout, sample_bytes
from fdet.pipeline.views import ResizeRule, parse_views

SPEC = PyramidSpec((LevelSpec("c3", 8, 40), LevelSpec("c5", 32, 320)))
RULE = ResizeRule(96, 160, False, 32)


def entries(count, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(50, 400, (count, 2))
    return [ImageEntry(k * 3, f"{k}.png", (int(h), int(w))) for k, (h, w) in enumerate(sizes)]


def plan(images, views="plain", dtype="float16", shard_bytes=2**20, rule=RULE):
    return plan_layout(images, rule, parse_views(views), SPEC, dtype, shard_bytes)


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
    expected = (40 * 12 * 20 + 320 * 3 * 5) * 4
    assert sample_bytes(SPEC, (96, 160), "float32") == expected
    assert sample_bytes(SPEC, (96, 160), "float16") == expected // 2


@pytest.mark.parametrize("views", ["plain", "plain,hflip,scale=0.5x2"])
@pytest.mark.parametrize("shard_bytes", [1, 2**17, 2**20, 2**40])
def test_a_shard_keeps_to_its_size_but_holds_an_image(views, shard_bytes):
    layout = plan(entries(120), views, shard_bytes=shard_bytes)
    for shard in layout.shards:
        one = sample_bytes(SPEC, shard.bucket.canvas_hw, "float16") * len(layout.views)
        assert len(shard.images) == 1 or len(shard.images) * one <= shard_bytes
    for bucket in layout.buckets:
        one = sample_bytes(SPEC, bucket.canvas_hw, "float16") * len(layout.views)
        whole = bucket.images_per_shard == len(bucket.images)
        assert whole or (bucket.images_per_shard + 1) * one > shard_bytes


@pytest.fixture
def folder(tmp_path):
    for k in range(6):
        Image.new("RGB", (30, 20)).save(tmp_path / f"{k}.png")
    return tmp_path


def listed(count, hw=(20, 30)):
    return [ImageEntry(k, f"{k}.png", hw) for k in range(count)]


def test_images_that_fit_pass_in_silence(folder, caplog):
    check_images(folder, listed(6))
    assert not caplog.records


def test_missing_images_are_counted_and_the_first_few_named(folder):
    said = r"4 of 10 images are missing below .*: 6\.png, 7\.png, 8\.png, \.\.\.; check --images"
    with pytest.raises(InputError, match=said):
        check_images(folder, listed(10))
    with pytest.raises(InputError, match=r"1 of 7 images are missing below .*: 6\.png; check"):
        check_images(folder, listed(7))


@pytest.mark.parametrize("name", ["x" * 300, "0.png/inside", "\ud800.png", "."])
def test_names_that_no_file_can_have_are_missing(name, folder):
    with pytest.raises(InputError, match="1 of 1 images are missing"):
        check_images(folder, [ImageEntry(0, name, (20, 30))])


def test_a_folder_that_is_none_is_named(folder):
    for path in (folder / "absent", folder / "0.png"):
        with pytest.raises(InputError, match="no such folder"):
            check_images(path, listed(1))


def test_other_sizes_are_counted_and_shown(folder):
    images = [*listed(5, (20, 31)), ImageEntry(5, "5.png", (20, 30))]
    with pytest.raises(InputError) as caught:
        check_images(folder, images)
    assert "5 images have another size than the annotations say" in str(caught.value)
    assert "0.png (file 30x20, annotations 31x20)" in str(caught.value)
    assert str(caught.value).count(".png") == 3


def test_files_that_cannot_be_read_are_left_to_the_extraction(folder):
    (folder / "2.png").write_bytes(b"no image")
    check_images(folder, listed(6))


def test_turned_images_are_counted_by_what_is_done(folder, caplog):
    exif = Image.Exif()
    exif[0x0112] = 6
    for k in (0, 1, 2):
        Image.new("RGB", (30, 20)).save(folder / f"{k}.png", exif=exif)
    images = [ImageEntry(k, f"{k}.png", (30, 20) if k < 2 else (20, 30)) for k in range(6)]
    with caplog.at_level(logging.WARNING, "fdet"):
        check_images(folder, images)
    (record,) = caplog.records
    assert "applied to 2 images; ignored for 1" in record.getMessage()
