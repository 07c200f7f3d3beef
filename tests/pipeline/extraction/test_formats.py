"""Copies of one data set in several formats give the same cache, the same boxes and the same AP."""

from itertools import permutations
from pathlib import Path

import pytest
import torch

from fdet.cache.reader import FeatureCache
from fdet.heads.types import Detections
from fdet.pipeline.dataset.data_name import DataName
from fdet.pipeline.dataset.data_set import load_annotations, read_data_set
from fdet.pipeline.dataset.writing.writers import WRITERS
from fdet.pipeline.evaluation.coco import coco_metrics
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.sources.data import open_cached

from ..dataset.formats.builders import ALPHABETICAL, SIZES, write_coco
from ..quick import quick

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> dict[str, Path]:
    """The folder of each copy, by its format."""
    folder = tmp_path_factory.mktemp("copies")
    # YOLO's ids are positions, and VOC's are in the order of the names: labels are the same in all.
    given = read_data_set(write_coco(folder / "given", ALPHABETICAL))
    for name, written in WRITERS.items():
        written(given.annotations, given.images, folder / name, "train")
    return {name: folder / name for name in WRITERS}


@pytest.fixture(scope="module")
def caches(copies, tmp_path_factory) -> dict[str, Path]:
    """The cache of each copy, by its format."""
    folder = tmp_path_factory.mktemp("caches")
    for name, copy in copies.items():
        read = read_data_set(copy)
        assert read.format == name
        extract(quick(copy, folder / f"{name}.fdet", images=None))
    return {name: folder / f"{name}.fdet" for name in copies}


def stored(path: Path) -> dict[int, tuple]:
    """The bytes of the maps of each image and view."""
    cache = FeatureCache.open(path)
    frames = {
        (image_id, view): [frame.data for frame in cache.stored(image_id, view)[1]]
        for image_id in cache.image_ids
        for view in range(len(cache.views))
    }
    assert len(frames) == len(SIZES) * 2 and all(frames.values())
    return frames


def test_the_maps_are_the_same(caches):
    first, *others = [stored(path) for path in caches.values()]
    assert all(other == first for other in others)


def test_the_boxes_and_the_ap_are_the_same(caches):
    scores = []
    for path in caches.values():
        annotations = open_cached([path], None, CPU).annotations
        assert [image.file_name for image in annotations.images] == list(SIZES)
        assert annotations.class_names == tuple(ALPHABETICAL)
        scores.append(coco_metrics(annotations, made_up(annotations)).to_json())
    assert all(score == scores[0] for score in scores)
    assert 0 < scores[0]["ap"] < 1


def made_up(annotations) -> dict[int, Detections]:
    """Detections near some objects, the same for every copy, by image id."""
    found = {}
    for image in annotations.images:
        rows, columns = image.hw
        boxes = torch.tensor([[1.0, 2, 11, 21], [0, 0, columns, rows], [5, 5, 20, 40]])
        found[image.id] = Detections(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([2, 1, 0]))
    return found


@pytest.mark.parametrize(("one", "other"), [*permutations(WRITERS, 2)])
def test_the_annotations_of_a_copy_pair_with_the_cache_of_another(one, other, copies, caches):
    data = open_cached([caches[one]], DataName(copies[other]), CPU)
    assert len(data.image_ids) == len(SIZES)
    own, read = open_cached([caches[one]], None, CPU).annotations, data.annotations
    assert read.packed.boxes == pytest.approx(own.packed.boxes, abs=1e-6)
    assert read.packed.area == pytest.approx(own.packed.area, abs=1e-3)
    assert read.packed.labels.tolist() == own.packed.labels.tolist()
    loaded, _ = load_annotations(copies[other])
    assert [image.hw for image in loaded.images] == [image.hw for image in own.images]
