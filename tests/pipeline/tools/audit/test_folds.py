"""Each image is held out once, copies of it with it, and the classes are spread."""

import json

import numpy as np
import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.tools.audit.folds import folds_of, objects_by_class


@pytest.fixture(scope="module")
def annotations(tmp_path_factory):
    """Thirty images; every third has an object of the second class."""
    path = tmp_path_factory.mktemp("folds") / "made.json"
    rows = [(i, 1) for i in range(1, 31)] + [(i, 2) for i in range(1, 31, 3)]
    boxes = [
        {"id": k, "image_id": i, "category_id": c, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
        for k, (i, c) in enumerate(rows, 1)
    ]
    images = [{"id": i, "file_name": f"{i}.png", "height": 50, "width": 50} for i in range(1, 31)]
    classes = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": classes}))
    return load_annotations(path)[0]


IDS = tuple(range(1, 31))


@pytest.mark.parametrize("count", [2, 3, 4])
def test_each_image_is_held_out_once_and_otherwise_trained_on(count, annotations):
    folds = folds_of(annotations, IDS, {}, count, 0)
    assert [fold.number for fold in folds] == list(range(1, count + 1))
    assert sorted(i for fold in folds for i in fold.held_out) == list(IDS)
    for fold in folds:
        assert sorted((*fold.held_out, *fold.trained)) == list(IDS)
        assert abs(len(fold.held_out) - 30 / count) <= 1
        assert objects_by_class(annotations, fold.held_out)[1] >= 10 // count


def test_images_of_one_content_stay_together(annotations):
    contents = {i: f"sha {i // 2}" for i in IDS} | {30: "", 29: ""}
    for fold in folds_of(annotations, IDS, contents, 3, 0):
        for i in range(2, 28, 2):
            assert (i in fold.held_out) == (i + 1 in fold.held_out)


def test_the_seed_makes_the_folds(annotations):
    same, other = (folds_of(annotations, IDS, {}, 3, seed) for seed in (0, 1))
    assert same == folds_of(annotations, IDS, {}, 3, 0) != other


def test_too_few_images_are_refused(annotations):
    with pytest.raises(InputError, match="--folds 4: there are only 3 different images"):
        folds_of(annotations, (1, 2, 3), {}, 4, 0)
    with pytest.raises(
        InputError, match="there is only 1 different image; an audit needs at least 2"
    ):
        folds_of(annotations, (1, 2, 3), dict.fromkeys((1, 2, 3), "same"), 2, 0)


def test_crowds_are_not_counted(dataset):
    known, _ = load_annotations(dataset)
    data = json.loads(dataset.read_text())
    counted = objects_by_class(known, [image.id for image in known.images])
    assert counted.sum() == sum(not a["iscrowd"] for a in data["annotations"])
    assert np.array_equal(objects_by_class(known, []), [0, 0, 0])
