"""Detections are compared one by one."""

import pytest
import torch

from fdet.heads.types import Detections
from fdet.pipeline.tools.exporting.agreement import agreement

BOX = (10.0, 10.0, 30.0, 40.0)


def found(*entries) -> Detections:
    boxes, scores, labels = zip(*entries, strict=True) if entries else ((), (), ())
    return Detections(
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(scores),
        torch.tensor(labels, dtype=torch.int64),
    )


def compared(mine, theirs, threshold=0.05, limit=100):
    result = agreement([(mine, theirs)], threshold, limit)
    return result.same, result.different


def test_equal_detections_are_the_same_in_any_order():
    one, other = (BOX, 0.9, 0), ((50.0, 50.0, 60.0, 60.0), 0.8, 1)
    assert compared(found(one, other), found(other, one)) == (2, 0)
    assert agreement([], 0.1, 5).share == 1.0


@pytest.mark.parametrize(
    "changed",
    [
        ((10.02, 10.0, 30.0, 40.0), 0.9, 0),
        (BOX, 0.9002, 0),
    ],
)
def test_a_small_change_is_a_difference(changed):
    assert compared(found((BOX, 0.9, 0)), found(changed)) == (0, 1)


def test_another_class_and_another_place_are_two_differences():
    assert compared(found((BOX, 0.9, 0)), found((BOX, 0.9, 1))) == (0, 2)
    assert compared(found((BOX, 0.9, 0)), found(((90.0, 90.0, 99.0, 99.0), 0.9, 0))) == (0, 2)
    assert compared(found((BOX, 0.9, 0)), found()) == (0, 1)


def test_what_is_at_the_threshold_or_the_end_of_a_full_image_may_be_missing():
    assert compared(found((BOX, 0.9, 0), (BOX, 0.05005, 1)), found((BOX, 0.9, 0))) == (1, 0)
    full = found((BOX, 0.9, 0), (BOX, 0.4, 1))
    assert compared(full, found((BOX, 0.9, 0)), limit=2) == (1, 0)
    assert compared(full, found((BOX, 0.9, 0)), limit=3) == (1, 1)
