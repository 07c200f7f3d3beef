"""COCO files: what is read, what is dropped, and which field a bad file is refused for."""

import json

import numpy as np
import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.annotations import Coverage
from fdet.pipeline.dataset.coco.reading import parse_annotations
from fdet.pipeline.dataset.data_set import load_annotations

ABSENT = object()


def coco():
    return {
        "images": [
            {"id": 7, "file_name": "b.png", "width": 100, "height": 80},
            {"id": 3, "file_name": "sub/a.png", "width": 40, "height": 60},
            {"id": 900, "file_name": "empty.png", "width": 10, "height": 10},
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 9, "bbox": [1, 2, 3, 4.5]},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 50, 50], "area": 99.5},
            {"id": 4, "image_id": 3, "category_id": 2, "bbox": [5, 5, 9, 9], "iscrowd": 1},
        ],
    }


def parse(data):
    return parse_annotations(json.dumps(data).encode(), "a.json")


def changed(path, value, data=None):
    """The data, or coco(), with the entry at 'images.0.id' replaced, or taken out."""
    data = target = data or coco()
    *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    for name in parents:
        target = target[name]
    if value is ABSENT:
        target.pop(last, None) if isinstance(target, dict) else target.pop(last)
    else:
        target[last] = value
    return data


def test_labels_are_positions_of_ascending_category_ids():
    annotations = parse(coco())
    assert annotations.class_ids == (2, 9)
    assert annotations.class_names == ("cat", "dog")
    assert annotations.of_image(3).labels.tolist() == [1, 0]


def test_images_keep_the_files_order_and_their_sizes():
    images = parse(coco()).images
    assert [(i.id, i.file_name, i.hw) for i in images] == [
        (7, "b.png", (80, 100)),
        (3, "sub/a.png", (60, 40)),
        (900, "empty.png", (10, 10)),
    ]


def test_boxes_become_corners_with_area_and_crowd():
    of_three = parse(coco()).of_image(3)
    assert of_three.boxes.tolist() == [[1, 2, 4, 6.5], [5, 5, 14, 14]]
    assert of_three.crowd.tolist() == [False, True]
    assert of_three.area.tolist() == [13.5, 81.0], "width times height where none is given"
    assert parse(coco()).of_image(7).area.tolist() == [99.5]


def test_an_image_without_boxes_is_kept():
    annotations = parse(coco())
    assert 900 in annotations and 8 not in annotations
    assert len(annotations.of_image(900)) == 0
    assert annotations.of_image(900).boxes.shape == (0, 4)
    with pytest.raises(InputError, match="image 8 is in the cache but not in the annotations"):
        annotations.of_image(8)


def test_a_file_without_any_box_is_read():
    annotations = parse(changed("annotations", []))
    assert [len(annotations.of_image(i.id)) for i in annotations.images] == [0, 0, 0]


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ([5, 5, 0, 4], "of zero size"),
        ([5, 5, 4, -1], "of negative size"),
        (None, "without a box"),
        ([], "without a box"),
        ([40, 5, 4, 4], "outside the image"),
        ([5, 60, 4, 4], "outside the image"),
        ([-9, 5, 9, 4], "outside the image"),
        ([5, -4, 4, 4], "outside the image"),
    ],
)
def test_boxes_that_show_nothing_are_dropped_and_counted(box, why):
    annotations = parse(changed("annotations.0.bbox", box))
    assert annotations.dropped == {why: 1}
    assert annotations.of_image(3).labels.tolist() == [0]


@pytest.mark.parametrize("box", [[39.5, 5, 100, 4], [-3.5, -3.5, 4, 4]])
def test_boxes_that_reach_into_their_image_are_kept(box):
    annotations = parse(changed("annotations.0.bbox", box))
    assert annotations.dropped == {}
    assert annotations.of_image(3).boxes[0].tolist() == [
        box[0],
        box[1],
        box[0] + box[2],
        box[1] + box[3],
    ]


def test_packed_arrays_equal_a_naive_reading():
    rng = np.random.default_rng(0)
    ids = [int(i) for i in rng.permutation(500)[:60]]
    categories = [int(c) for c in rng.permutation(90)[:7]]
    data = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 64} for i in ids],
        "categories": [{"id": c, "name": str(c)} for c in categories],
        "annotations": [
            {
                "id": k,
                "image_id": ids[int(rng.integers(50))],
                "category_id": categories[int(rng.integers(7))],
                "bbox": [float(v) for v in rng.uniform(0, 30, 4)],
                "area": float(rng.uniform(1, 9)),
                "iscrowd": int(rng.integers(2)),
            }
            for k in range(400)
        ],
    }
    annotations = parse(data)
    for i in ids:
        mine = annotations.of_image(i)
        theirs = [a for a in data["annotations"] if a["image_id"] == i]
        assert len(mine) == len(theirs)
        for k, a in enumerate(theirs):
            x, y, w, h = a["bbox"]
            assert mine.boxes[k].tolist() == [x, y, x + w, y + h]
            assert annotations.class_ids[mine.labels[k]] == a["category_id"]
            assert (mine.area[k], mine.crowd[k]) == (a["area"], bool(a["iscrowd"]))
    assert annotations.starts[-1] == 400


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("images", ABSENT, "field 'images' is missing"),
        ("categories", ABSENT, "field 'categories' is missing"),
        ("images", {}, "images: expected a list, got {}"),
        ("annotations", {}, "annotations: expected a list, got {}"),
        ("categories", None, "field 'categories' is missing"),
        ("images", [], "'images' is empty"),
        ("categories", [], "'categories' is empty"),
        ("images.1", 5, "images[1]: expected an object, got 5"),
        ("images.1.id", ABSENT, "images[1].id: expected an integer or a text, got nothing"),
        ("images.1.id", "", "images[1].id: expected an integer or a text, got ''"),
        ("images.1.id", 3.5, "images[1].id: expected an integer or a text, got 3.5"),
        ("images.1.id", True, "images[1].id: expected an integer or a text, got True"),
        ("images.1.width", 0, "images[1].width: expected an integer >= 1, got 0"),
        ("images.1.height", ABSENT, "images[1].height: expected an integer >= 1, got nothing"),
        ("images.1.height", 10**400, "images[1].height: expected an integer"),
        ("images.1.id", 7, "1 image id occurs more than once: 7"),
        ("images.0.file_name", ABSENT, "images[0].file_name: expected a path below"),
        ("images.0.file_name", "", "images[0].file_name: expected a path below"),
        ("images.0.file_name", 5, "images[0].file_name: expected a path below"),
        ("images.0.file_name", "/etc/passwd", "images[0].file_name leaves the image folder"),
        ("images.0.file_name", "../a.png", "images[0].file_name leaves the image folder"),
        ("images.0.file_name", "a/../../b.png", "images[0].file_name leaves the image folder"),
        ("images.0.file_name", "..\\a.png", "images[0].file_name leaves the image folder"),
        ("images.0.file_name", "a\0.png", "images[0].file_name leaves the image folder"),
        ("categories.0.name", [], "categories[0].name: expected a string, got []"),
        ("categories.0.id", 2.5, "categories[0].id: expected an integer or a text, got 2.5"),
        ("categories.0.id", 2, "1 category id occurs more than once: 2"),
        ("annotations.2", [], "annotations[2]: expected an object, got []"),
        ("annotations.2.image_id", ABSENT, "annotations[2].image_id: expected an id that 'images'"),
        ("annotations.2.image_id", True, "annotations[2].image_id: expected an id that 'images'"),
        ("annotations.2.image_id", [3], "annotations[2].image_id: expected an id that 'images'"),
        (
            "annotations.2.image_id",
            8,
            "annotations[2].image_id: expected an id that 'images' lists",
        ),
        (
            "annotations.2.category_id",
            3,
            "annotations[2].category_id: expected an id that 'categories' lists, got 3",
        ),
        ("annotations.2.bbox", [1, 2, 3], "annotations[2].bbox: expected four finite numbers"),
        ("annotations.2.bbox", [1, 2, 3, "4"], "annotations[2].bbox: expected four finite"),
        ("annotations.2.bbox", [1, 2, 3, None], "annotations[2].bbox: expected four finite"),
        ("annotations.2.bbox", [1, 2, 3, float("nan")], "annotations[2].bbox: expected four"),
        ("annotations.2.bbox", [1, 2, float("inf"), 3], "annotations[2].bbox: expected four"),
        ("annotations.2.bbox", [1, 2, 1e308, 3], "annotations[2].bbox: expected four"),
        ("annotations.2.bbox", [1, 2, 10**400, 3], "annotations[2].bbox: expected four"),
        ("annotations.2.bbox", {"x": 1}, "annotations[2].bbox: expected four"),
        ("annotations.2.area", "big", "annotations[2].area: expected a number, got 'big'"),
        ("annotations.2.iscrowd", "yes", "annotations[2].iscrowd: expected 0 or 1, got 'yes'"),
        ("annotations.2.iscrowd", 2, "annotations[2].iscrowd: expected 0 or 1, got 2"),
    ],
)
def test_a_malformed_field_is_named(path, value, said):
    with pytest.raises(InputError) as caught:
        parse(changed(path, value))
    assert str(caught.value).startswith(f"a.json: {said}")
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


def lvis():
    """The same with what LVIS has more; image 900 has an address alone."""
    data = coco()
    for image in data["images"]:
        image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    data["images"][0]["neg_category_ids"] = [9]
    data["images"][1]["not_exhaustive_category_ids"] = [9, 2]
    del data["images"][2]["file_name"]
    data["images"][2]["coco_url"] = "http://images.cocodataset.org/train2017/000000000900.jpg"
    for category, frequency in zip(data["categories"], "cr", strict=True):
        category["frequency"] = frequency
    return data


def test_what_was_looked_for_is_read_by_label_and_groups_in_the_order_of_labels():
    annotations = parse(lvis())
    assert annotations.coverage == {
        7: Coverage(negative=(1,), partial=()),
        3: Coverage(negative=(), partial=(0, 1)),
        900: Coverage((), ()),
    }
    assert annotations.class_names == ("cat", "dog") and annotations.declared == ("r", "c")
    plain = parse(coco())
    assert plain.coverage is None and plain.declared is None


def test_an_image_of_an_address_alone_lies_in_cocos_folders():
    assert parse(lvis()).image(900).file_name == "train2017/000000000900.jpg"
    both = lvis()
    both["images"][2]["file_name"] = "b.jpg"
    assert parse(both).image(900).file_name == "b.jpg"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        *(
            (f"images.1.{name}", value, f"images[1].{name}: expected {expected}")
            for name in ("neg_category_ids", "not_exhaustive_category_ids")
            for value, expected in (
                (ABSENT, "a list of category ids, as for all images, got nothing"),
                (9, "a list of category ids, as for all images, got 9"),
                ([9, 3], "ids that 'categories' lists, got 3"),
                (["x"], "ids that 'categories' lists, got 'x'"),
                ([[9]], "ids that 'categories' lists, got [9]"),
                ([True], "ids that 'categories' lists, got True"),
                ([9.5], "ids that 'categories' lists, got 9.5"),
            )
        ),
        (
            "categories.1.frequency",
            ABSENT,
            "categories[1].frequency: expected 'r', 'c' or 'f', got",
        ),
        (
            "categories.1.frequency",
            "x",
            "categories[1].frequency: expected 'r', 'c' or 'f', got 'x'",
        ),
        ("categories.1.frequency", "", "categories[1].frequency: expected 'r', 'c' or 'f', got ''"),
        (
            "categories.1.frequency",
            ["r"],
            "categories[1].frequency: expected 'r', 'c' or 'f', got [",
        ),
        ("images.2.coco_url", "http:///a.jpg", "images[2].file_name leaves the image folder"),
        ("images.2.coco_url", "http://x/../a.jpg", "images[2].file_name leaves the image folder"),
        ("images.2.coco_url", 5, "images[2].file_name: expected a path below"),
    ],
)
def test_a_malformed_field_of_lvis_is_named(path, value, said):
    with pytest.raises(InputError) as caught:
        parse(changed(path, value, lvis()))
    assert str(caught.value).startswith(f"a.json: {said}")
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "not JSON"),
        (b"{'images': []}", "not JSON"),
        (b"\xff\xfe\x00", "line 1: not UTF-8; save the file in UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b"[1, 2]", "expected an object, got list"),
        (b"null", "expected an object, got NoneType"),
    ],
)
def test_what_is_no_coco_json_is_refused(raw, said):
    with pytest.raises(InputError, match=f"a.json: {said}"):
        parse_annotations(raw, "a.json")


def test_many_duplicates_are_counted_and_the_first_few_named():
    data = coco()
    data["images"] = [{**data["images"][0], "id": k // 2} for k in range(20)]
    with pytest.raises(
        InputError, match=r"10 image ids occur more than once: 0, 1, 2, 3, 4, \.\.\."
    ):
        parse(data)


def test_a_file_comes_with_its_bytes_and_an_absent_one_with_a_reason(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(coco(), indent=1))
    annotations, raw = load_annotations(path)
    assert raw == path.read_bytes()
    assert len(annotations.images) == 3
    with pytest.raises(InputError, match="No such file"):
        load_annotations(tmp_path / "b.json")
    assert load_annotations(tmp_path)[0].images == annotations.images, "the only file of a folder"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("annotations.2.id", value)
        for value in (ABSENT, None, 1, "5f3e-1", -4, True, [], {"$oid": "5f"})
    ]
    + [("annotations.2.iscrowd", value) for value in (1, True, "1", 1.0)]
    + [("annotations.0.iscrowd", value) for value in (ABSENT, None, 0, False, "0")]
    + [("annotations.0.area", value) for value in (ABSENT, None)]
    + [("images.1.width", value) for value in (40.0, "40")]
    + [("images.1.file_name", value) for value in ("./sub/a.png", "sub\\a.png", "sub//./a.png")]
    + [("images.1.id", value) for value in (3.0, "3")]
    + [("categories.0.id", value) for value in (9.0, "9")]
    + [("annotations.0.image_id", value) for value in (3.0, "3")]
    + [("annotations.0.segmentation", value) for value in (None, [], [[]])]
    + [("info", value) for value in (None, {}, "x")],
)
def test_every_way_to_write_the_same_data_gives_the_same(path, value):
    plain, other = parse(coco()), parse(changed(path, value))
    assert other.images == plain.images and other.remarks == ()
    assert (other.class_ids, other.class_names) == (plain.class_ids, plain.class_names)
    for name in ("boxes", "labels", "crowd", "area"):
        assert getattr(other.packed, name).tolist() == getattr(plain.packed, name).tolist()
    assert other.starts.tolist() == plain.starts.tolist()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_every_encoding_of_json_is_read(encoding):
    text = json.dumps(coco() | {"categories": [{"id": 9, "name": "狗"}, {"id": 2, "name": "кот"}]})
    read = parse_annotations(text.encode(encoding), "a.json")
    assert read.class_names == ("кот", "狗")


@pytest.mark.parametrize(
    ("beyond", "why"),
    [(-3, "negative, such as -3"), (2**63 + 7, "2^63 or more, such as 9223372036854775815")],
)
def test_ids_beyond_those_of_a_cache_are_numbered_in_the_order_of_the_file(beyond, why):
    data = changed("images.1.id", beyond)
    old = coco()["images"][1]["id"]
    for box in data["annotations"]:
        box["image_id"] = beyond if box["image_id"] == old else box["image_id"]
    read, plain = parse(data), parse(coco())
    assert [i.id for i in read.images] == [1, 2, 3]
    assert read.starts.tolist() == plain.starts.tolist()
    assert read.packed.boxes.tolist() == plain.packed.boxes.tolist()
    assert read.remarks == (f"image ids are {why}: they are numbered from 1 on",)


def test_ids_that_are_texts_are_numbered_in_the_order_of_the_file():
    data = coco()
    for entry, text in zip(data["images"], ("b-7", "a-3", "c"), strict=True):
        for box in data["annotations"]:
            box["image_id"] = text if box["image_id"] == entry["id"] else box["image_id"]
        entry["id"] = text
    read = parse(data)
    assert [i.id for i in read.images] == [1, 2, 3]
    assert len(read.of_image(2)) == 2 and len(read.of_image(1)) == 1
    assert read.remarks == ("image ids are texts such as 'b-7': they are numbered from 1 on",)
    digits = changed("images.0.id", "03", changed("images.1.id", "3"))
    digits["annotations"] = []
    assert [i.id for i in parse(digits).images] == [1, 2, 3], "03 and 3 are two ids"


def test_an_object_of_polygons_alone_has_the_box_around_them():
    data = changed("annotations.0.bbox", ABSENT)
    data["annotations"][0]["segmentation"] = [[1, 2, 4, 2, 4, 6.5], [1, 3, 2, 3, 2, 4]]
    assert parse(data).of_image(3).boxes[0].tolist() == [1, 2, 4, 6.5]
    assert parse(data).dropped == {}


@pytest.mark.parametrize(
    "counts",
    [
        [3 * 60 + 10, 5, 55, 8, 2400 - 258],
        [60, 61, 2400 - 121],
        [0, 1, 2399],
        [5, 1, 0, 2, 2392],
    ],
)
def test_an_object_of_run_lengths_alone_has_the_box_around_them(counts):
    data = changed("annotations.0.bbox", None)
    data["annotations"][0]["segmentation"] = {"size": [60, 40], "counts": counts}
    flat = np.repeat(np.arange(len(counts)) % 2, counts).reshape(40, 60).T
    rows, columns = np.nonzero(flat)
    x, y = columns.min(), rows.min()
    expected = [x, y, columns.max() + 1, rows.max() + 1]
    assert parse(data).of_image(3).boxes[0].tolist() == expected
    data["annotations"][0]["segmentation"] = {"size": [60, 40], "counts": [2400]}
    assert parse(data).dropped == {"without a box": 1}


def test_a_file_that_lists_images_alone_has_no_objects():
    read = parse(changed("annotations", ABSENT))
    assert len(read.packed) == 0 and len(read.images) == 3
    assert read.remarks == ("it has no 'annotations': no object is known",)


@pytest.mark.parametrize("area", [0, -13.5, -0.0])
def test_an_area_of_nothing_is_that_of_the_box_and_is_remarked(area):
    read = parse(changed("annotations.0.area", area))
    assert read.of_image(3).area.tolist() == [13.5, 81.0]
    assert read.remarks == ("1 object has an area of 0 or less: w * h is used",)


def test_a_class_without_a_name_gets_one():
    read = parse(changed("categories.0.name", None))
    assert read.class_names == ("cat", "class 9")
    assert read.remarks == ("categories[0] has no name: it is called 'class 9'",)
    assert parse(changed("categories.0.name", 4)).class_names == ("cat", "4")


def test_boxes_that_look_like_corners_or_fractions_are_remarked():
    data = coco()
    data["annotations"][0]["bbox"] = [5, 6, 39, 59]
    data["annotations"][1]["bbox"] = [60, 40, 100, 80]
    data["annotations"][2]["bbox"] = [30, 40, 38, 59]
    assert parse(data).remarks == ("3 of 3 boxes reach beyond their image",), "few are no evidence"
    data["annotations"] += [dict(box) for box in data["annotations"]]
    assert parse(data).remarks == (
        "6 of 6 boxes reach beyond their image: they seem to be x1, y1, x2, y2, and x, y, width, "
        "height are expected",
    )
    data["annotations"][2]["bbox"] = [30, 40, 5, 5]
    assert parse(data).remarks == ("5 of 6 boxes reach beyond their image",)
    del data["annotations"][3:]
    for box in data["annotations"]:
        box["bbox"] = [0.2, 0.3, 0.5, 0.7]
    assert parse(data).remarks == (
        "all 3 boxes lie within 0..1: they seem to be fractions of the image, and px are expected",
    )
