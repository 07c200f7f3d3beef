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


def compared(mine, theirs, threshold=0.05, limit=100, iou=1.1):
    result = agreement([(mine, theirs)], threshold, limit, iou)
    return result.same, result.different


def test_equal_detections_are_the_same_in_any_order():
    one, other = (BOX, 0.9, 0), ((50.0, 50.0, 60.0, 60.0), 0.8, 1)
    assert compared(found(one, other), found(other, one)) == (2, 0)
    assert agreement([], 0.1, 5, 0.6).share == 1.0


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


def moved(count: int, by: float):
    """Detections far apart, of which the first `count` are moved."""
    places = [(100.0 * k, 0.0, 100.0 * k + 20, 20.0) for k in range(200)]
    mine = found(*((box, 0.9 - 0.001 * k, 0) for k, box in enumerate(places)))
    theirs = found(
        *(
            ((x1 + by * (k < count), y1, x2 + by * (k < count), y2), 0.9 - 0.001 * k, 0)
            for k, (x1, y1, x2, y2) in enumerate(places)
        )
    )
    return agreement([(mine, theirs)], 0.05, 1000, 0.6)


def test_a_few_boxes_of_the_same_score_are_ties():
    """NMS at an overlap of 0.6 keeps one of two boxes that are 4 px apart, but both of two at 8 px."""
    few = moved(2, 4.0)
    assert (few.same, few.tied, few.different, few.share) == (198, 2, 0, 1.0)
    assert (moved(2, 8.0).tied, moved(2, 8.0).different) == (0, 2)


def test_many_ties_are_boxes_that_are_wrong():
    assert moved(3, 4.0).share < 1.0
    every = moved(200, 4.0)
    assert every.tied == 200 and every.share == pytest.approx(0.01)
