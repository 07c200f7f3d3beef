"""The AP of resampled images is COCO's, and an interval holds what chance does to it."""

import numpy as np
import pytest
import torch

from fdet.heads.types import Detections
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.evaluation.coco import coco_metrics, resampled_ap, to_coco_results
from fdet.pipeline.evaluation.resampling import paired_difference

from .test_evaluate import noisy

NAMES = ["disc", "square", "cross"]


@pytest.fixture(scope="module")
def annotations(dataset):
    return load_annotations(dataset)[0]


def resampled(annotations, found):
    return resampled_ap(annotations, found, to_coco_results(found, annotations.class_ids, {}))


def test_with_weights_of_one_it_is_that_of_coco(annotations):
    found = noisy(annotations)
    ours, theirs = resampled(annotations, found), coco_metrics(annotations, found)
    assert ours.ap == pytest.approx(theirs.ap, abs=1e-12)
    assert ours.per_class == pytest.approx(list(theirs.per_class.values()), abs=1e-12)


def test_an_image_that_is_left_out_does_not_count(annotations):
    found = noisy(annotations)
    weights = np.array([1, 0] * 6)
    half = dict(sorted(found.items())[::2])
    values = resampled(annotations, found).each(weights)
    expected = coco_metrics(annotations, half).per_class.values()
    assert values.tolist() == pytest.approx(
        [np.nan if v is None else v for v in expected], nan_ok=True
    )


def test_weights_are_the_number_of_times_that_an_image_is_there(annotations):
    one = resampled(annotations, noisy(annotations))
    assert one.each(np.full(12, 3)).tolist() == pytest.approx(one.each(np.ones(12, int)).tolist())


def test_the_same_detections_differ_by_nothing(annotations):
    one = resampled(annotations, noisy(annotations))
    same = paired_difference([(one, one)], NAMES, 20)
    assert (same.ap.difference, same.ap.low, same.ap.high) == (0, 0, 0)
    assert not same.ap.certain and same.rounds == 20


def test_better_detections_are_better_in_all_resamples(annotations):
    found = noisy(annotations)
    worse = {
        i: Detections(d.boxes + torch.tensor(12.0), d.scores, d.labels) for i, d in found.items()
    }
    one, other = resampled(annotations, found), resampled(annotations, worse)
    change = paired_difference([(one, other)], NAMES, 50)
    assert change.ap.certain and 0 < change.ap.low <= change.ap.difference <= change.ap.high
    assert change.ap.difference == pytest.approx(one.ap - other.ap)
    back = paired_difference([(other, one)], NAMES, 50)
    assert back.ap.high == pytest.approx(-change.ap.low)
    assert list(change.per_class) == NAMES


def test_a_class_without_objects_has_no_interval(annotations):
    """Crosses are taken away from the only image that is left."""
    image = next(i.id for i in annotations.images if 2 not in annotations.of_image(i.id).labels)
    one = resampled(annotations, {image: noisy(annotations)[image]})
    assert one.per_class[2] is None
    change = paired_difference([(one, one)], NAMES, 5)
    assert change.per_class["cross"] is None and change.ap is not None
