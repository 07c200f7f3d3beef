"""Photographs edited in place, under the same names and sizes: never mixed, and never unseen."""

import os
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from fdet.cache.diff import differences
from fdet.cache.errors import KeyMismatch
from fdet.cache.info import describe
from fdet.cache.layout import ImageEntry
from fdet.cache.pairs import PairedCache
from fdet.cache.reader import FeatureCache
from fdet.pipeline.dataset.images import hashes
from fdet.pipeline.extraction import changed as changed_file
from fdet.pipeline.extraction.extract import extract

from ..command_server import Moment
from ..quick import command, quick, records, tree

KILLED = Moment("os.link", r"/commits/64x64-2\.json$")


@pytest.fixture
def mine(dataset, tmp_path) -> Path:
    """A data set that may be edited, old enough for its times to tell."""
    folder = shutil.copytree(dataset.parent, tmp_path / "data")
    return folder / dataset.name


def edit(dataset: Path, image: ImageEntry) -> None:
    path = dataset.parent / "images" / image.file_name
    with Image.open(path) as before:
        ImageOps.invert(before.convert("RGB")).save(path)


def first_image(cache: Path, shard: int = 0) -> ImageEntry:
    return FeatureCache.open(cache).header.layout.shards[shard].images[0]


@pytest.fixture
def no_slack(monkeypatch):
    """The images of a test are younger than the clocks may differ."""
    monkeypatch.setattr(changed_file, "CLOCKS_DIFFER_SECONDS", 0.0)


def test_a_killed_extraction_does_not_go_on_with_other_pixels(
    mine, commands, whole, store, tmp_path
):
    out = tmp_path / "c"
    assert commands.run(command(mine, out, store=store), KILLED) < 0
    assert records(out) == ["64x64-0", "64x64-1"]
    edit(mine, first_image(whole, 1))
    before = tree(out)
    with pytest.raises(KeyMismatch, match=r"1 image has changed since .*--redo-changed"):
        extract(quick(mine, out, store=store))
    assert {k: v for k, v in tree(out).items() if "scratch" not in k} == {
        k: v for k, v in before.items() if "scratch" not in k
    }
    summary = extract(quick(mine, out, store=store, redo_changed=True))
    assert summary.written == 3 * 6
    fresh = extract(quick(mine, tmp_path / "fresh", store=store))
    assert fresh.samples == summary.samples
    assert tree(out) == tree(tmp_path / "fresh") != tree(whole)


def test_a_finished_cache_is_no_longer_said_to_be_up_to_date(mine, tmp_path):
    out = tmp_path / "c"
    extract(quick(mine, out))
    assert extract(quick(mine, out)).written == 0
    edit(mine, first_image(out))
    with pytest.raises(KeyMismatch, match="has changed since its features were made"):
        extract(quick(mine, out))
    assert extract(quick(mine, out, redo_changed=True)).written == 6
    extract(quick(mine, tmp_path / "fresh"))
    # What it replaced is set aside under a hidden name.
    here = {k: v for k, v in tree(out).items() if ".aside-" not in k}
    assert here == tree(tmp_path / "fresh")
    assert extract(quick(mine, out)).written == 0


def test_a_shard_of_another_process_with_other_pixels_is_not_sealed(mine, tmp_path):
    out = tmp_path / "c"
    extract(quick(mine, out, rank=0, world=2))
    shard = FeatureCache.open(_whole(mine, tmp_path)).header.layout.shards[0]
    edit(mine, shard.images[0])
    with pytest.raises(KeyMismatch, match="has changed since its features were made"):
        extract(quick(mine, out, rank=1, world=2))
    assert not (out / "manifest.json").exists()


def test_redoing_its_own_shards_does_not_seal_over_those_of_another_process(mine, tmp_path):
    out = tmp_path / "c"
    extract(quick(mine, out, rank=0, world=2))
    extract(quick(mine, out, rank=1, world=2))
    edit(mine, first_image(out, 1))
    with pytest.raises(KeyMismatch, match="has changed since its features were made"):
        extract(quick(mine, out, rank=0, world=2, redo_changed=True))
    assert extract(quick(mine, out, rank=1, world=2, redo_changed=True)).written == 6
    assert extract(quick(mine, out, rank=0, world=2)).written == 0


def _whole(dataset: Path, folder: Path) -> Path:
    extract(quick(dataset, folder / "whole"))
    return folder / "whole"


def test_an_image_that_is_edited_while_the_others_are_extracted_is_found_at_the_end(
    mine, tmp_path, monkeypatch
):
    image = first_image(_whole(mine, tmp_path))
    out = tmp_path / "c"
    seen = []
    real = changed_file.changed_images

    def editing(*arguments, **more):
        seen.append(len(records(out)))
        if len(seen) == 2:
            edit(mine, image)
        return real(*arguments, **more)

    monkeypatch.setattr("fdet.pipeline.extraction.extract.changed_images", editing)
    with pytest.raises(KeyMismatch, match="has changed since its features were made"):
        extract(quick(mine, out))
    assert seen == [0, 4]
    assert not (out / "manifest.json").exists()


def test_only_files_that_were_touched_since_are_read(mine, tmp_path, monkeypatch, no_slack):
    out = tmp_path / "c"
    time.sleep(0.02)
    extract(quick(mine, out))
    read = []
    real = hashes.file_sha256
    monkeypatch.setattr(hashes, "file_sha256", lambda path: read.append(path) or real(path))
    extract(quick(mine, out))
    assert read == []
    path = mine.parent / "images" / first_image(out).file_name
    os.utime(path, ns=(0, 0))
    extract(quick(mine, out))
    assert read == [path], "its time was set back, and that is a touch too"
    read.clear()
    extract(quick(mine, out, verify_images=True))
    assert len(read) == 12


def test_a_cache_with_a_newer_time_needs_verify_images(mine, tmp_path, no_slack):
    out = tmp_path / "c"
    extract(quick(mine, out))
    edit(mine, first_image(out))
    later = time.time() + 100
    os.utime(out / "fdet.json", (later, later))
    assert extract(quick(mine, out)).written == 0
    with pytest.raises(KeyMismatch, match="has changed since its features were made"):
        extract(quick(mine, out, verify_images=True))


def test_an_image_that_is_gone_was_not_changed(mine, tmp_path):
    out = tmp_path / "c"
    extract(quick(mine, out))
    (mine.parent / "images" / first_image(out).file_name).unlink()
    assert extract(quick(mine, out)).written == 0


def test_info_and_diff_tell_caches_of_other_pixels_apart(mine, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    extract(quick(mine, one))
    edit(mine, first_image(one))
    extract(quick(mine, two))
    assert describe(one)["id"] == describe(two)["id"]
    assert describe(one)["image files"] != describe(two)["image files"]
    (line,) = differences(one, two)
    assert line.startswith("image files: 1 differs, e.g. id ")
    assert differences(one, one) == []


def test_caches_of_other_pixels_are_not_read_beside_each_other(mine, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    extract(quick(mine, one))
    edit(mine, first_image(one))
    extract(quick(mine, two, codec="fp16"))
    with pytest.raises(KeyMismatch, match="made from different files of 1 image,"):
        PairedCache(FeatureCache.open(one), FeatureCache.open(two))
