"""Each wrong detection has its reason, and each reason the AP50 that it costs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fdet.heads.types import Detections
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.evaluation.coco import coco_metrics
from fdet.pipeline.evaluation.errors import KINDS, error_breakdown

from .test_evaluate import noisy

OBJECT = [0.0, 0.0, 10.0, 10.0]
FAR = [50.0, 50.0, 60.0, 60.0]
NEAR = [6.0, 0.0, 16.0, 10.0]  # 40 of 160: an overlap of 0.25


class MadeUp:
    """One image of the objects that are given as (box, class, crowd)."""

    class_ids = (1, 2)

    coverage = None

    def __init__(self, *objects):
        self.objects = objects

    def of_image(self, image_id):
        boxes, labels, crowd = zip(*self.objects, strict=True) if self.objects else ((), (), ())
        return SimpleNamespace(
            boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
            labels=np.array(labels, dtype=np.int64),
            crowd=np.array(crowd, dtype=bool),
        )


def found(*rows):
    """Of (box, class, score)."""
    boxes, labels, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return {
        7: Detections(
            torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            torch.tensor(scores),
            torch.tensor(labels, dtype=torch.int64),
        )
    }


ONE = MadeUp((OBJECT, 0, False))
# wrong detections beside a hit, and what they are
CASES = {
    "classification": (ONE, [(OBJECT, 1, 0.9)], {"classification": 1}),
    "localisation": (ONE, [(NEAR, 0, 0.9)], {"localisation": 1}),
    "both": (ONE, [(NEAR, 1, 0.9)], {"both": 1, "missed": 1}),
    "duplicate": (ONE, [(OBJECT, 0, 0.9), (OBJECT, 0, 0.8)], {"duplicate": 1}),
    "background": (ONE, [(FAR, 0, 0.9)], {"background": 1, "missed": 1}),
    "missed": (ONE, [], {"missed": 1}),
    "nothing is wrong": (ONE, [(OBJECT, 0, 0.9)], {}),
    "a crowd takes any number": (
        MadeUp((OBJECT, 0, False), (FAR, 0, True)),
        [(OBJECT, 0, 0.9), (FAR, 0, 0.8), (FAR, 0, 0.7)],
        {},
    ),
    "a crowd of another class does not": (
        MadeUp((OBJECT, 0, False), (FAR, 1, True)),
        [(OBJECT, 0, 0.9), (FAR, 0, 0.8)],
        {"background": 1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_has_its_reason(case):
    annotations, rows, expected = CASES[case]
    errors = error_breakdown(annotations, found(*rows))
    assert errors.counts == {**dict.fromkeys(KINDS, 0), **expected}


def test_mending_gives_the_whole_of_a_single_error():
    for case, gain in (("classification", 1.0), ("localisation", 1.0), ("both", 0.0)):
        annotations, rows, _ = CASES[case]
        errors = error_breakdown(annotations, found(*rows))
        assert errors.ap50 == 0.0
        assert errors.gains[case] == pytest.approx(gain)


def test_what_stands_in_front_of_a_hit_costs_precision():
    """Background at rank 1, the hit at rank 2: AP50 is a half, and whole without the first."""
    errors = error_breakdown(ONE, found((FAR, 0, 0.9), (OBJECT, 0, 0.8)))
    assert errors.ap50 == pytest.approx(0.5)
    assert errors.gains == pytest.approx({**dict.fromkeys(KINDS, 0.0), "background": 0.5})


def test_missed_objects_cost_recall():
    two = MadeUp((OBJECT, 0, False), (FAR, 0, False))
    errors = error_breakdown(two, found((OBJECT, 0, 0.9)))
    # Recalls 0 to 0.5 of 101 are reached.
    assert errors.ap50 == pytest.approx(51 / 101)
    assert errors.gains["missed"] == pytest.approx(1 - 51 / 101)


def test_of_two_that_mean_the_same_object_the_better_one_gets_it():
    errors = error_breakdown(ONE, found((NEAR, 0, 0.9), (NEAR, 0, 0.8)))
    assert errors.counts["localisation"] == 2
    assert errors.gains["localisation"] == pytest.approx(1.0)


def test_without_objects_there_is_no_figure():
    errors = error_breakdown(MadeUp(), found((OBJECT, 0, 0.9)))
    assert (errors.ap50, errors.counts["background"]) == (None, 1)


@pytest.mark.parametrize("seed", range(4))
def test_ap50_is_that_of_coco(seed, dataset):
    annotations, _ = load_annotations(dataset)
    detections = noisy(annotations, seed)
    errors = error_breakdown(annotations, detections)
    assert errors.ap50 == pytest.approx(coco_metrics(annotations, detections).ap50, abs=1e-9)
    assert all(gain >= -1e-9 for gain in errors.gains.values())
    assert sum(errors.counts.values()) > 0


def test_hits_are_counted_in_tenths_of_the_scores():
    truth = MadeUp((OBJECT, 0, False), (FAR, 1, False), ([80.0, 80.0, 90.0, 90.0], 0, True))
    boxes = found(
        (OBJECT, 0, 0.95),
        (OBJECT, 0, 0.93),
        (FAR, 1, 0.31),
        (NEAR, 1, 0.05),
        ([80.0, 80.0, 90.0, 90.0], 0, 0.95),
    )
    rows = error_breakdown(truth, boxes).reliability
    assert [n for n, _, _ in rows] == [1, 0, 0, 1, 0, 0, 0, 0, 0, 2], "not those within crowds"
    assert rows[9] == pytest.approx((2, 0.94, 0.5)) and rows[3] == pytest.approx((1, 0.31, 1.0))
    assert rows[0][2] == 0 and rows[5] == (0, 0.0, 0.0)
