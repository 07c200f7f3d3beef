"""Small faults of COCO JSON are mended where their meaning is certain, and refused where data are lost."""

import copy
import json

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.data_set import read_data_set
from fdet.pipeline.dataset.doctor.examine import examine
from fdet.pipeline.dataset.doctor.subject import Split

from .builders import FROM_ZERO, assert_same, coco, draw_all, write


def read(folder, data, *, draw=True):
    if draw:
        draw_all(folder / "images")
    text = data if isinstance(data, str) else json.dumps(data)
    return read_data_set(write(folder / "instances.json", text))


def as_texts(value):
    return list(map(as_texts, value)) if isinstance(value, list) else f" {value} "


def test_numbers_of_boxes_may_be_texts(tmp_path):
    data = coco(FROM_ZERO)
    for entry in data["annotations"]:
        x, y, w, h = entry["bbox"]
        entry["area"] = w * h
        entry["segmentation"] = [[x, y, x + w, y, x + w, y + h]]
    plain = read_data_set(
        write(tmp_path / "plain.json", json.dumps(data)), draw_all(tmp_path / "i")
    )
    for entry in data["annotations"]:
        for name in ("bbox", "area", "segmentation"):
            entry[name] = as_texts(entry[name])
    data["annotations"][1]["bbox"][0] = 0  # one number among texts
    found = read(tmp_path / "texts", data)
    count = len(data["annotations"])
    assert found.annotations.remarks == (
        f"{count} objects have numbers that are written as texts: they are read as numbers",
    )
    for name in ("boxes", "area"):
        wanted = getattr(plain.annotations.packed, name).tolist()
        assert getattr(found.annotations.packed, name).tolist() == wanted
    kept = json.loads(found.raw)["annotations"]
    assert [e["bbox"] for e in kept] == [e["bbox"] for e in json.loads(plain.raw)["annotations"]]
    read_data_set(tmp_path / "texts" / "instances.json", outlines=True)


def test_sizes_may_be_texts(tmp_path):
    data = coco(FROM_ZERO)
    for entry in data["images"]:
        entry |= {"width": f"{entry['width']}.0", "height": f"{entry['height']}"}
    write(tmp_path / "set" / "instances.json", json.dumps(data))
    draw_all(tmp_path / "set" / "images")
    found = assert_same(tmp_path / "set", FROM_ZERO, tmp_path)
    assert found.annotations.remarks == (
        "3 images have numbers that are written as texts: they are read as numbers",
    )


def test_texts_of_useless_boxes_do_not_disturb_the_doctor(tmp_path):
    data = coco(FROM_ZERO)
    data["annotations"][0]["bbox"] = ["1", "2", "0", "5"]
    findings = {f.rule: f for f in examine([Split("", read(tmp_path, data))])}
    assert findings["left-out"].examples == ("a.png: [1, 2, 0, 5]",)


@pytest.mark.parametrize("text", ["1,5", "12 px", "nan", "", "1e999"])
def test_texts_that_are_no_numbers_are_refused(text, tmp_path):
    data = coco(FROM_ZERO)
    data["annotations"][0]["bbox"][2] = text
    with pytest.raises(InputError, match=r"annotations\[0\]\.bbox: expected four finite numbers"):
        read(tmp_path, data)


def test_entries_that_repeat_another_are_taken_once(tmp_path):
    data = coco(FROM_ZERO)
    for name in ("images", "categories"):
        data[name].append(copy.deepcopy(data[name][0]))
    data["images"].append(copy.deepcopy(data["images"][0]))
    write(tmp_path / "set" / "instances.json", json.dumps(data))
    draw_all(tmp_path / "set" / "images")
    found = assert_same(tmp_path / "set" / "instances.json", FROM_ZERO, tmp_path)
    assert found.annotations.remarks == (
        "2 images are listed twice with the same values: each is taken once: a.png",
        "1 category is listed twice with the same values: each is taken once: cat",
    )
    assert "left-out" not in {f.rule for f in examine([Split("", found)])}


@pytest.mark.parametrize(
    ("name", "field", "value", "said"),
    [
        ("images", "file_name", "b.png", "1 image id occurs more than once: 1"),
        ("categories", "name", "ant", "1 category id occurs more than once: 0"),
    ],
)
def test_two_entries_with_one_id_and_other_values_are_refused(name, field, value, said, tmp_path):
    data = coco(FROM_ZERO)
    data[name].append({**data[name][0], field: value})
    with pytest.raises(InputError, match=said):
        read(tmp_path, data)


@pytest.mark.parametrize(
    ("repeated", "said"),
    [
        ('"annotations": [], ', "an object has the key 'annotations' twice"),
        ('"images": [], ', "an object has the key 'images' twice"),
    ],
)
def test_a_key_that_stands_twice_loses_data_and_is_refused(repeated, said, tmp_path):
    text = json.dumps(coco(FROM_ZERO))
    with pytest.raises(InputError, match=rf"instances\.json: {said}, and what the first one holds"):
        read(tmp_path, "{" + repeated + text[1:])


def test_a_key_that_stands_twice_in_an_entry_is_named_with_its_id(tmp_path):
    text = json.dumps(coco(FROM_ZERO)).replace('"bbox":', '"bbox": [1, 2, 3, 4], "bbox":', 1)
    with pytest.raises(
        InputError, match=r"an object \(that with the id 1\) has the key 'bbox' twice"
    ):
        read(tmp_path, text)


def test_a_key_that_stands_twice_with_one_value_is_read(tmp_path):
    text = json.dumps(coco(FROM_ZERO)).replace('"iscrowd": 0', '"iscrowd": 0, "iscrowd": 0')
    write(tmp_path / "set" / "instances.json", text)
    draw_all(tmp_path / "set" / "images")
    assert assert_same(tmp_path / "set", FROM_ZERO, tmp_path).annotations.remarks == ()
