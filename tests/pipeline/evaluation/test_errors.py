"""Each wrong detection has its reason, and each reason the AP50 that it costs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fdet.heads.types import Detections
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.evaluation.coco import coco_metrics
from fdet.pipeline.evaluation.errors import KINDS, error_breakdown
from fdet.pipeline.evaluation.matching import all_matches
from fdet.pipeline.evaluation.ranking import Ranking, precision_at_recalls

from .made import image
from .test_evaluate import noisy

OBJECT = [0.0, 0.0, 10.0, 10.0]
FAR = [50.0, 50.0, 60.0, 60.0]
NEAR = [6.0, 0.0, 16.0, 10.0]  # 40 of 160: an overlap of 0.25


class MadeUp:
    """One image of the objects that are given as (box, class, crowd)."""

    class_ids = (1, 2)
    coverage = None
    tiles = 1

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


def errors_of(annotations, detections):
    return error_breakdown(all_matches(annotations, detections), len(annotations.class_ids))


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
    errors = errors_of(annotations, found(*rows))
    assert errors.counts == {**dict.fromkeys(KINDS, 0), **expected}


def test_mending_gives_the_whole_of_a_single_error():
    for case, gain in (("classification", 1.0), ("localisation", 1.0), ("both", 0.0)):
        annotations, rows, _ = CASES[case]
        errors = errors_of(annotations, found(*rows))
        assert errors.ap50 == 0.0
        assert errors.gains[case] == pytest.approx(gain)


def test_what_stands_in_front_of_a_hit_costs_precision():
    """Background at rank 1, the hit at rank 2: AP50 is a half, and whole without the first."""
    errors = errors_of(ONE, found((FAR, 0, 0.9), (OBJECT, 0, 0.8)))
    assert errors.ap50 == pytest.approx(0.5)
    assert errors.gains == pytest.approx({**dict.fromkeys(KINDS, 0.0), "background": 0.5})


def test_missed_objects_cost_recall():
    two = MadeUp((OBJECT, 0, False), (FAR, 0, False))
    errors = errors_of(two, found((OBJECT, 0, 0.9)))
    # Recalls 0 to 0.5 of 101 are reached.
    assert errors.ap50 == pytest.approx(51 / 101)
    assert errors.gains["missed"] == pytest.approx(1 - 51 / 101)


def test_of_two_that_mean_the_same_object_the_better_one_gets_it():
    errors = errors_of(ONE, found((NEAR, 0, 0.9), (NEAR, 0, 0.8)))
    assert errors.counts["localisation"] == 2
    assert errors.gains["localisation"] == pytest.approx(1.0)


def test_without_objects_there_is_no_figure():
    errors = errors_of(MadeUp(), found((OBJECT, 0, 0.9)))
    assert (errors.ap50, errors.counts["background"]) == (None, 1)


@pytest.mark.parametrize("seed", range(4))
def test_ap50_is_that_of_coco(seed, dataset):
    annotations, _ = load_annotations(dataset)
    detections = noisy(annotations, seed)
    errors = errors_of(annotations, detections)
    assert errors.ap50 == pytest.approx(coco_metrics(annotations, detections).ap50, abs=1e-9)
    assert all(gain >= -1e-9 for gain in errors.gains.values())
    assert sum(errors.counts.values()) > 0


def reason(iou, same):
    own, other = np.where(same, iou, 0.0), np.where(same, 0.0, iou)
    if not len(iou) or iou.max() <= 0.1:
        return "background", -1
    if 0.1 <= own.max() < 0.5:
        return "localisation", own.argmax()
    if other.max() >= 0.5:
        return "classification", other.argmax()
    return ("duplicate", -1) if own.max() >= 0.5 else ("both", -1)


def corrected_ap(matches, classes, kind):
    """AP50 by a loop over every detection, after the errors of a kind are corrected; and their number."""
    rows, objects, number = {k: [] for k in range(classes)}, [0] * classes, 0
    for m in matches:
        wrong = {
            k: reason(m.iou[k], m.objects == m.labels[k])
            for k in range(len(m.labels))
            if m.hits[k] < 0 and not m.ignored[k]
        }
        reached, taken = {*m.hits, *(meant for _, meant in wrong.values())}, {*m.hits}
        for k, label in enumerate(m.objects):
            number += kind == "missed" and k not in reached
            objects[label] += kind != "missed" or k in reached
        for k in np.flatnonzero(~m.ignored):
            why, meant = wrong.get(k, ("", -1))
            hit, label = m.hits[k] >= 0, m.labels[k]
            if why and why == kind:
                number += 1
                if meant < 0 or meant in taken:
                    continue
                taken.add(meant)
                hit, label = True, m.objects[meant]
            rows[label].append((m.scores[k], hit))
    aps = [class_ap(rows[k], objects[k]) for k in range(classes) if objects[k]]
    return (np.mean(aps) if aps else None), number


def class_ap(rows, objects):
    scores, right = np.array([s for s, _ in rows]), np.array([hit for _, hit in rows], dtype=bool)
    order = np.argsort(-scores, kind="stable")
    return precision_at_recalls(Ranking(scores[order], right[order], objects)).mean()


def crowded(rng, classes):
    """An image of objects that overlap, some of them crowds, and detections near them; scores are equal."""
    corners = rng.uniform(0, 60, (rng.integers(0, 7), 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, corners.shape)], axis=1)
    objects = [(box, int(rng.integers(classes)), rng.random() < 0.1) for box in boxes]
    found = []
    for _ in range(rng.integers(0, 13)):
        x, y = rng.uniform(0, 60, 2)
        box, label = np.array([x, y, x + 20, y + 20]), int(rng.integers(classes))
        if objects and rng.random() < 0.7:
            near, own, _ = objects[rng.integers(len(objects))]
            box, label = near + rng.normal(0, 3, 4), own if rng.random() < 0.6 else label
        found.append((box, label, round(float(rng.random()), 1)))
    return image(objects, found, (0,) if rng.random() < 0.1 else ())


@pytest.mark.parametrize("seed", range(25))
def test_a_loop_over_every_detection_gives_the_same(seed):
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(1, 6))
    matches = [crowded(rng, classes) for _ in range(rng.integers(0, 6))]
    errors = error_breakdown(matches, classes)
    before, _ = corrected_ap(matches, classes, "")
    assert errors.ap50 == before
    for kind in KINDS:
        after, number = corrected_ap(matches, classes, kind)
        assert errors.counts[kind] == number
        assert errors.gains[kind] == (0.0 if before is None else (after or 0.0) - before)
