"""What a run sees of its caches: which images, whose boxes, and what is warned of."""

import json
import shutil

import pytest
import torch

from fdet.cache.errors import CorruptCache, InputError, KeyMismatch
from fdet.cache.format.annotation_copy import NAME as ANNOTATIONS
from fdet.cache.reader import FeatureCache
from fdet.cache.sampler import plain_batches
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.sources.data import open_cached

from ..quick import damage, flip_bit, quick

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def turned(dataset, tmp_path_factory):
    """The same annotations, with the last five images first."""
    data = json.loads(dataset.read_text())
    data["images"] = data["images"][7:] + data["images"][:7]
    path = tmp_path_factory.mktemp("turned") / "turned.json"
    path.write_text(json.dumps(data))
    return path


@pytest.fixture(scope="module")
def parts(dataset, turned, tmp_path_factory):
    """Seven images and the other five, each with a copy of annotations that name all twelve."""
    folder, images = tmp_path_factory.mktemp("parts"), dataset.parent / "images"
    extract(quick(dataset, folder / "a", limit=7))
    extract(quick(turned, folder / "b", images=images, limit=5, store="hdf5"))
    return [folder / "a", folder / "b"]


def as_lists(boxes):
    return [x.tolist() for x in (boxes.boxes, boxes.labels, boxes.crowd, boxes.area)]


def test_parts_of_one_annotation_file_are_the_whole_data_set(parts, dataset, caplog):
    data = open_cached(parts, None, CPU)
    whole, _ = load_annotations(dataset)
    assert data.image_ids == tuple(image.id for image in whole.images)
    for image in whole.images:
        assert as_lists(data.annotations.of_image(image.id)) == as_lists(whole.of_image(image.id))
    assert data.name == f"{parts[0]} + {parts[1]}"
    assert caplog.records == []


def test_batches_of_several_caches_are_those_of_one(parts, quick_caches):
    joined, one = open_cached(parts, None, CPU), open_cached([quick_caches["zarr"]], None, CPU)
    samples = plain_batches(one.header.layout, one.image_ids, 5)
    batches = joined.batches(samples, CPU, 0.3), one.batches(samples, CPU, 0.3)
    for mine, theirs in zip(*batches, strict=True):
        assert (mine.image_ids, mine.placements) == (theirs.image_ids, theirs.placements)
        for x, y in zip(mine.pyramid().maps, theirs.pyramid().maps, strict=True):
            assert torch.equal(x, y)
        for x, y in zip(mine.targets, theirs.targets, strict=True):
            assert torch.equal(x.boxes, y.boxes) and torch.equal(x.labels, y.labels)


def test_one_file_of_annotations_may_stand_for_all(parts, dataset, tmp_path, caplog):
    data = json.loads(dataset.read_text())
    data["annotations"] = data["annotations"][:2]
    gone = data["images"].pop()["id"]
    path = tmp_path / "fewer.json"
    path.write_text(json.dumps(data))
    found = open_cached(parts, path, CPU)
    assert gone not in found.image_ids and len(found.image_ids) == 11
    assert sum(len(found.annotations.of_image(i)) for i in found.image_ids) == 2
    assert "1 image is not in the annotations" in caplog.text


def test_the_fingerprint_names_caches_and_annotations(parts, dataset, turned):
    ways = [
        (parts, None),
        (parts[::-1], None),
        (parts, dataset),
        (parts, turned),
        (parts[:1], None),
    ]
    prints = {open_cached(paths, annotations, CPU).fingerprint for paths, annotations in ways}
    assert len(prints) == len(ways)
    assert open_cached(parts, None, CPU).fingerprint in prints


def test_annotations_that_give_the_ids_to_other_images_are_refused(parts, dataset, tmp_path):
    data = json.loads(dataset.read_text())
    data["images"][-1]["file_name"] = "elsewhere.png"
    path = tmp_path / "other.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="give 1 of its image ids to other images"):
        open_cached(parts, path, CPU)


def test_failed_images_of_any_part_are_left_out_aloud(parts, dataset, tmp_path, caplog):
    images = shutil.copytree(dataset.parent / "images", tmp_path / "images")
    (images / "10.png").write_bytes(b"no image")
    extract(quick(dataset, tmp_path / "a", images=images, limit=7))
    data = open_cached([parts[1], tmp_path / "a"], None, CPU)
    assert len(data.image_ids) == 11 and 10 not in data.image_ids
    assert "1 image failed at extraction and is left out" in caplog.text


def test_parts_of_different_classes_are_refused(parts, dataset, tmp_path):
    data = json.loads(dataset.read_text())
    data["categories"][0]["name"] = "dish"
    data["images"] = data["images"][7:]
    data["annotations"] = []
    path = tmp_path / "renamed.json"
    path.write_text(json.dumps(data))
    extract(quick(path, tmp_path / "c", images=dataset.parent / "images"))
    caches = [parts[0], tmp_path / "c"]
    with pytest.raises(InputError, match="different classes"):
        open_cached(caches, None, CPU)
    assert len(open_cached(caches, dataset, CPU).image_ids) == 12


def test_damaged_annotations_of_one_part_name_it(parts, dataset, tmp_path):
    copy = shutil.copytree(parts[1], tmp_path / "b")
    flip_bit(copy / ANNOTATIONS, 60)
    with pytest.raises(CorruptCache, match=f"{copy}/{ANNOTATIONS}.*give --annotations FILE"):
        open_cached([parts[0], copy], None, CPU)
    assert len(open_cached([parts[0], copy], dataset, CPU).image_ids) == 12


def test_caches_that_do_not_pair_are_refused(parts, turned, dataset, tmp_path):
    images = dataset.parent / "images"
    extract(quick(turned, tmp_path / "b", images=images, limit=5, size=96))
    with pytest.raises(KeyMismatch, match="short: 64 here, 96 there"):
        open_cached([parts[0], tmp_path / "b"], None, CPU)


@pytest.mark.parametrize("resident", ["none", "ram"])
def test_skipped_samples_are_counted_by_the_source(resident, parts, tmp_path):
    copy = shutil.copytree(parts[0], tmp_path / "a")
    damage(copy, 17)
    data = open_cached([copy, parts[1]], None, CPU, resident=resident, on_corrupt="skip")
    for _ in range(2):
        batches = data.batches(plain_batches(data.header.layout, data.image_ids, 1), CPU, 0.3)
        sizes = [(batch.image_ids, len(batch.pyramid()), len(batch.targets)) for batch in batches]
        assert sizes[1] == ((), 0, 0)
        assert [ids for ids, _, _ in sizes if ids] == [(i,) for i in data.image_ids if i != 17]
        assert data.source.skipped == {(17, 0)}


def test_a_cache_without_usable_images_is_refused(dataset, parts, tmp_path):
    data = json.loads(dataset.read_text())
    for image in data["images"]:
        image["id"] += 100_000
    data["annotations"] = []
    path = tmp_path / "strangers.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="no image has both features and annotations"):
        open_cached(parts, path, CPU)
    assert len(FeatureCache.open(parts[0])) == 7
