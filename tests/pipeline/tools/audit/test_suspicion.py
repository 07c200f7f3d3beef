"""What each kind of disagreement is taken for, and what is no disagreement."""

import numpy as np
import pytest

from fdet.pipeline.dataset.annotations import ImageBoxes
from fdet.pipeline.tools.audit.confidence import Confidence
from fdet.pipeline.tools.audit.suspicion import (
    KINDS,
    Seen,
    Suspicion,
    first_of_each,
    suspicions,
)

# Scores are probabilities here.
PLAIN = [Confidence(np.array([0.0, 1.0]), np.array([0.0, 1.0]))] * 3
A, NEAR_A, HALF_A, APART = (
    (10, 10, 50, 50),
    (12, 10, 52, 50),
    (26, 10, 66, 50),
    (200, 200, 240, 240),
)


def image(objects, found, **more):
    """An image. objects: (box, label). found: (box, label, score)."""
    boxes, labels = [box for box, _ in objects], [label for _, label in objects]
    area = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes]
    values = {
        "image_id": 7,
        "objects": ImageBoxes(
            np.array(boxes, float).reshape(-1, 4),
            np.array(labels, int),
            np.zeros(len(labels), bool),
            np.array(area, float),
        ),
        "crowds": np.zeros((0, 4)),
        "boxes": np.array([box for box, _, _ in found], float).reshape(-1, 4),
        "scores": np.array([score for _, _, score in found], float),
        "labels": np.array([label for _, label, _ in found], int),
        **{name: np.ones(3, bool) for name in ("looked_for", "whole", "judged")},
    }
    return Seen(**{**values, **more})


def strongest(objects, found, **more):
    """The kind, the score, the object and the detection of suspicions of more than 0.3."""
    listed = suspicions([image(objects, found, **more)], PLAIN)
    return [(s.kind, pytest.approx(s.score), s.row, s.found) for s in listed if s.score > 0.3]


AGREED = [(A, 0, 0.9)]


def test_labels_that_are_found_are_not_suspected():
    assert strongest([(A, 0)], AGREED) == []
    assert strongest([(A, 0), (APART, 1)], [(NEAR_A, 0, 0.9), (APART, 1, 0.8), (A, 0, 0.1)]) == []
    assert strongest([], []) == []


def test_another_class_on_the_place_of_an_object_is_a_wrong_class():
    assert strongest([(A, 1)], AGREED) == [("wrong class", 0.9, 0, 0)]
    both = [(A, 0, 0.9), (NEAR_A, 1, 0.8)]
    assert strongest([(A, 1)], both) == [], "its own class is found as well"


def test_two_objects_in_one_place_explain_two_classes():
    assert strongest([(A, 0), (NEAR_A, 1)], [(A, 0, 0.9), (A, 1, 0.8)]) == []


def test_a_find_on_no_object_is_a_missed_one_and_is_listed_once():
    found = [*AGREED, (APART, 1, 0.8), ((202, 200, 242, 240), 2, 0.7)]
    assert strongest([(A, 0)], found) == [("missed object", 0.8, None, 1)]


@pytest.mark.parametrize(
    "more",
    [
        {"crowds": np.array([[190.0, 190, 260, 260]])},
        {"whole": np.array([True, False, True])},
    ],
)
def test_a_find_in_a_crowd_or_of_a_class_labelled_in_part_is_none(more):
    assert strongest([(A, 0)], [*AGREED, (APART, 1, 0.8)], **more) == []


def test_a_class_that_was_not_looked_for_in_an_image_makes_no_label_wrong():
    looked_for = np.array([False, True, True])
    assert strongest([(A, 1)], AGREED, looked_for=looked_for) == []


def test_a_box_beside_the_one_that_is_found_is_badly_placed():
    assert strongest([(HALF_A, 0)], AGREED) == [("badly placed box", 0.9, 0, 0)]
    assert strongest([(NEAR_A, 0)], AGREED) == []
    neighbour = [(A, 0), ((40, 10, 80, 50), 0)]
    assert strongest(neighbour, [(A, 0, 0.9), ((41, 10, 81, 50), 0, 0.9)]) == []


def many(found_share, **more):
    """Images of one object, found in most of them; in the first one nothing is."""
    rng = np.random.default_rng(0)
    return [
        image([(A, 0)], AGREED if k and rng.random() < found_share else [], **more)
        for k in range(60)
    ]


def test_a_box_where_nothing_is_found_is_invented_if_its_like_usually_are():
    invented = [s for s in suspicions(many(1.0), PLAIN) if s.kind == "invented box"]
    assert (invented[0].score, invented[0].row, invented[0].found) == (pytest.approx(0.9), 0, None)
    assert all(s.score < 0.1 for s in invented[1:])
    seldom = suspicions(many(0.2), PLAIN)
    assert max(s.score for s in seldom) < 0.3


def test_a_class_that_the_head_could_not_learn_has_no_invented_boxes():
    assert suspicions(many(1.0, judged=np.array([False, True, True])), PLAIN) == []


def test_a_label_and_a_find_are_listed_once_with_the_strongest_kind():
    listed = suspicions([image([(A, 1), (HALF_A, 0)], [(A, 0, 0.9)])], PLAIN)
    rows = [s.row for s in listed if s.row is not None]
    found = [s.found for s in listed if s.found is not None]
    assert len(set(rows)) == len(rows) and len(set(found)) == len(found)
    assert [s.score for s in listed] == sorted((s.score for s in listed), reverse=True)
    assert {s.kind for s in listed} <= set(KINDS)


def test_a_kind_that_is_everywhere_leaves_the_others_on_the_list():
    listed = [Suspicion("missed object", 0.9 - k / 100, 1, None, k) for k in range(9)]
    listed.append(Suspicion("wrong class", 0.6, 1, 0, 10))
    kept = first_of_each(listed, 2)
    assert kept == [*listed[:2], listed[-1]]
