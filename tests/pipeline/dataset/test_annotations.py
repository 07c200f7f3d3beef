"""Annotations of several caches joined into one, each part with what is its own."""

import json

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.annotations import joined_annotations
from fdet.pipeline.dataset.coco.reading import parse_annotations

from .coco.test_reading import coco, lvis, parse
from .formats.builders import coco as animals


def second():
    """Another file of the same classes, in another order, with another image under id 7."""
    data = coco()
    data["categories"].reverse()
    data["images"] = [
        {"id": 7, "file_name": "other.png", "width": 20, "height": 20},
        {"id": 11, "file_name": "c.png", "width": 20, "height": 20},
    ]
    data["annotations"] = [
        {"id": 1, "image_id": 11, "category_id": 9, "bbox": [1, 1, 3, 3]},
        {"id": 2, "image_id": 11, "category_id": 2, "bbox": [2, 2, 3, 3], "iscrowd": 1},
        {"id": 3, "image_id": 7, "category_id": 9, "bbox": [2, 2, 0, 3]},
    ]
    return parse(data)


def as_lists(boxes):
    return [x.tolist() for x in (boxes.boxes, boxes.labels, boxes.crowd, boxes.area)]


def test_joined_annotations_take_of_each_part_what_is_its_own():
    first, other = parse(coco()), second()
    joined = joined_annotations([(first, {7, 900, 55}), (other, {11})])
    assert [image.id for image in joined.images] == [7, 900, 11]
    assert (joined.class_ids, joined.class_names) == (first.class_ids, first.class_names)
    assert joined.image(7).file_name == "b.png"
    for image_id, part in ((7, first), (900, first), (11, other)):
        assert as_lists(joined.of_image(image_id)) == as_lists(part.of_image(image_id))
    assert 3 not in joined and 55 not in joined
    assert joined.dropped == {"of zero size": 1}


def test_parts_of_one_annotation_file_are_the_file_again():
    whole = parse(coco())
    joined = joined_annotations([(whole, {7, 900}), (whole, {3})])
    assert {image.id for image in joined.images} == {3, 7, 900}
    for image in whole.images:
        assert joined.image(image.id) == image
        assert as_lists(joined.of_image(image.id)) == as_lists(whole.of_image(image.id))


def test_joined_annotations_keep_what_was_looked_for():
    whole = parse(lvis())
    joined = joined_annotations([(whole, {7}), (whole, {3})])
    assert joined.coverage == {i: whole.coverage[i] for i in (7, 3)}
    assert joined.declared == whole.declared
    with pytest.raises(InputError, match="of some caches are LVIS'"):
        joined_annotations([(whole, {7}), (second(), {11})])


def test_parts_without_any_image_or_box_can_be_joined():
    assert joined_annotations([(parse(coco()), ()), (second(), ())]).images == ()
    empty = parse({**coco(), "annotations": []})
    joined = joined_annotations([(empty, {7}), (second(), {11})])
    assert [len(joined.of_image(image_id)) for image_id in (7, 11)] == [0, 2]


@pytest.mark.parametrize(
    ("categories", "named"),
    [
        ([{"id": 9, "name": "dog"}, {"id": 2, "name": "kitten"}], "(2, 'cat')"),
        ([{"id": 9, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 4, "name": "cow"}], "'cow'"),
        ([{"id": 9, "name": "cat"}, {"id": 2, "name": "dog"}], "'cat'"),
    ],
)
def test_parts_of_different_classes_are_refused(categories, named):
    other = parse({**coco(), "categories": categories})
    with pytest.raises(InputError, match="different classes") as caught:
        joined_annotations([(parse(coco()), {7}), (other, {3})])
    assert named in str(caught.value)


def test_a_longer_list_of_classes_moves_the_labels():
    ids = {"ant": 1, "dog": 7}
    data = animals({**ids, "cat": 3})
    data["annotations"] = [a for a in data["annotations"] if a["category_id"] != 3]
    whole = parse_annotations(json.dumps(data).encode(), "whole")
    data["categories"] = [c for c in data["categories"] if c["id"] != 3]
    part = parse_annotations(json.dumps(data).encode(), "part")
    assert part.class_names == ("ant", "dog") and whole.class_names == ("ant", "cat", "dog")
    assert part.packed.labels.max() == 1
    found = part.with_classes(whole.class_ids, whole.class_names)
    assert (found.class_ids, found.class_names) == (whole.class_ids, whole.class_names)
    assert found.packed.labels.tolist() == whole.packed.labels.tolist()
    assert found.packed.boxes.tolist() == whole.packed.boxes.tolist()
    assert whole.with_classes(whole.class_ids, whole.class_names) is whole


def test_what_images_were_checked_for_moves_with_the_labels():
    data = animals({"ant": 1, "dog": 7, "cat": 9})
    for image in data["images"]:
        image |= {"neg_category_ids": [7], "not_exhaustive_category_ids": [9]}
    for category in data["categories"]:
        category["frequency"] = "f"
    part = parse_annotations(json.dumps(data).encode(), "part")
    assert part.declared == ("f", "f", "f")
    found = part.with_classes((1, 5, 7, 9), ("ant", "cow", "dog", "cat"))
    assert found.coverage is not None and found.declared is None
    assert {(c.negative, c.partial) for c in found.coverage.values()} == {((2,), (3,))}
