"""Groups, counts and repeat factors against a literal reading of LVIS' paper."""

import json
import math

import numpy as np
import pytest

from fdet.pipeline.dataset.classes.long_tail import (
    class_images,
    frequencies,
    known_classes,
    repeat_factors,
)
from fdet.pipeline.dataset.coco.reading import parse_annotations

NAMES = ("absent", "one", "ten", "eleven", "hundred", "more")
IN = (0, 1, 10, 11, 100, 101)


def shown(in_images=IN, total=120, **more):
    """Class k is in the first in_images[k] images, twice in each; and once as a crowd in the last."""
    images = [{"id": 3 * k, "file_name": f"{k}.png", "width": 9, "height": 9} for k in range(total)]
    boxes = [
        {"image_id": 3 * k, "category_id": c, "bbox": [1, 1, 3, 3]}
        for c, count in enumerate(in_images)
        for k in [*range(count)] * 2
    ]
    crowds = [
        {"image_id": 3 * total - 3, "category_id": c, "bbox": [1, 1, 3, 3], "iscrowd": 1}
        for c in range(len(in_images))
    ]
    categories = [{"id": c, "name": NAMES[c]} for c in range(len(in_images))]
    data = {"images": images, "annotations": boxes + crowds, "categories": categories} | more
    return parse_annotations(json.dumps(data).encode(), "a.json")


def test_groups_are_lvis_by_the_number_of_images():
    assert frequencies(shown()) == ("r", "r", "r", "c", "c", "f")


def test_groups_that_the_file_names_stand():
    categories = [{"id": c, "name": "x", "frequency": f} for c, f in enumerate("fcrfcr")]
    assert frequencies(shown(categories=categories)) == tuple("fcrfcr")


def test_images_are_counted_once_without_crowds_and_only_those_given():
    annotations = shown()
    ids = [image.id for image in annotations.images]
    assert class_images(annotations, ids).tolist() == list(IN)
    assert class_images(annotations, ids[5:50][::-1]).tolist() == [0, 0, 5, 6, 45, 45]
    assert class_images(annotations, []).tolist() == [0] * 6


@pytest.mark.parametrize("threshold", [0.001, 0.05, 0.2, 1.0])
def test_repeat_factors_follow_the_formula(threshold):
    annotations = shown()
    ids = [image.id for image in annotations.images][3:][::-1]
    expected = []
    of = {i: {k for k in range(6) if i // 3 < IN[k]} for i in ids}
    for i in ids:
        factor = 1.0
        for k in of[i]:
            share = sum(k in of[j] for j in ids) / len(ids)
            factor = max(factor, max(1.0, math.sqrt(threshold / share)))
        expected.append(factor)
    factors = repeat_factors(annotations, ids, threshold)
    np.testing.assert_allclose(factors, expected, rtol=1e-12)
    assert (factors.max() > 1) == (threshold > 0.06)


def test_what_was_looked_for_is_what_is_there_or_known_to_be_absent():
    assert known_classes(shown(), 0).all()
    images = [
        {"id": 3 * k, "file_name": f"{k}.png", "width": 9, "height": 9}
        | {"neg_category_ids": [1, 5] if k == 2 else [], "not_exhaustive_category_ids": [4]}
        for k in range(120)
    ]
    annotations = shown(images=images)
    assert known_classes(annotations, 6).tolist() == [False, True, True, True, True, True]
    assert known_classes(annotations, 60).tolist() == [False] * 4 + [True] * 2
