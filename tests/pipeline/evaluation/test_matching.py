"""What takes which object, as pycocotools counts it."""

import json

import numpy as np
import pytest
import torch

from fdet.heads.types import Detections
from fdet.pipeline.dataset.coco.reading import parse_annotations
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.evaluation.coco import coco_metrics, resampled_ap, to_coco_results
from fdet.pipeline.evaluation.errors import error_breakdown
from fdet.pipeline.evaluation.matching import all_matches, overlaps, shares_within
from fdet.pipeline.evaluation.ranking import rankings

from .made import FAR, HERE, THERE, image
from .test_evaluate import noisy


def test_overlaps_are_intersections_over_unions():
    boxes = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [3, 3, 3, 3]])
    expected = [[1, 50 / 150, 0], [50 / 150, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(overlaps(boxes, boxes), expected, atol=1e-12)
    assert overlaps(boxes, np.zeros((0, 4))).shape == (3, 0)
    np.testing.assert_allclose(shares_within(boxes[1:2], boxes[:1]), [[0.5]])


def test_a_detection_takes_the_nearest_object_that_is_left():
    near = [0.0, 0.0, 10.0, 9.0]
    m = image([(HERE, 0), (near, 0), (THERE, 1)], [(HERE, 0, 0.5), (HERE, 0, 0.9), (THERE, 0, 0.7)])
    assert m.given.tolist() == [1, 2, 0]
    assert m.hits.tolist() == [0, -1, 1] and not m.ignored.any()


def test_crowds_and_classes_that_are_labelled_in_part_make_detections_neither_right_nor_wrong():
    found = [(THERE, 0, 0.9), (THERE, 1, 0.8), (FAR, 2, 0.7), (HERE, 0, 0.6)]
    m = image([(THERE, 0, True), (HERE, 0)], found, partial=(2,))
    assert m.ignored.tolist() == [True, False, True, False]
    assert m.hits.tolist() == [-1, -1, -1, 0] and m.rows.tolist() == [1]


@pytest.mark.parametrize("seed", range(3))
def test_right_and_wrong_are_those_of_pycocotools(seed, dataset):
    annotations, _ = load_annotations(dataset)
    found = noisy(annotations, seed)
    ours = rankings(all_matches(annotations, found), 3)
    results = to_coco_results(found, annotations.class_ids, {})
    theirs = resampled_ap(annotations, found, results).classes
    for mine, other in zip(ours, theirs, strict=True):
        counted = other.right[0] | other.wrong[0]
        assert mine.right.tolist() == other.right[0][counted].tolist()
        assert mine.objects == other.objects.sum() > 0


def test_a_hundred_of_each_class_count_rather_than_of_each_image():
    """A class with many wrong detections takes nothing from another, as COCO counts."""
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 300, "height": 300}],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 10, 10], "area": 100}
        ],
    }
    annotations = parse_annotations(json.dumps(data).encode(), "a.json")
    scores = torch.linspace(0.9, 0.2, 151)
    found = {
        1: Detections(torch.tensor([FAR] * 150 + [HERE]), scores, torch.tensor([0] * 150 + [1]))
    }
    (m,) = all_matches(annotations, found)
    assert len(m.labels) == 101 and (m.hits >= 0).sum() == 1
    assert error_breakdown([m], 2).ap50 == coco_metrics(annotations, found).ap50 == 1.0
