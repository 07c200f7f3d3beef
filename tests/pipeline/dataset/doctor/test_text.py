"""The report fits 80 columns whatever the names are, and its JSON has all of it."""

import json

import pytest

from fdet.pipeline.dataset.doctor.examine import examine
from fdet.pipeline.dataset.doctor.summary import summarise
from fdet.pipeline.dataset.doctor.text import WIDTH, as_json, as_lines, class_lines

from ..made import draw


def test_the_summary_counts(made, splits_of):
    made.add("val", "big.png")
    made.splits["val"]["images"][-1] |= {"width": 100, "height": 60}
    made.splits["val"]["annotations"][0]["iscrowd"] = 1
    made.splits["val"]["annotations"][1]["bbox"] = [0, 0, 40, 30]
    train, val = summarise(splits_of(made)).splits
    assert (train.images, train.empty, train.objects, train.crowds, train.classes) == (
        6,
        0,
        12,
        0,
        2,
    )
    assert (val.images, val.empty, val.objects, val.crowds, val.most) == (7, 1, 11, 1, 2)
    assert (val.smallest, val.median, val.largest) == ((48, 32), (48, 32), (100, 60))
    assert (val.small, val.medium, val.large) == (10, 1, 0)
    assert summarise(splits_of(made)).classes == {"dog": [6, 6], "cat": [6, 5]}


@pytest.mark.parametrize("length", [3, 30, 200])
def test_no_line_is_wider_than_a_terminal(length, made, splits_of):
    draw(made.images / "more.png", 43)
    for coco in made.splits.values():
        coco["categories"][0]["name"] = "c" * length
    made.splits["train"]["images"][0]["file_name"] = "n" * length
    made.splits = {name + "s" * length: coco for name, coco in made.splits.items()}
    splits = splits_of(made)
    lines = as_lines(summarise(splits), examine(splits))
    assert max(map(len, lines)) <= WIDTH
    text = "\n".join(lines)
    assert "[missing]" in text and text.endswith("1 error, 0 warnings, 1 note")


def test_a_sound_data_set_is_said_to_be(made, splits_of):
    splits = splits_of(made)
    lines = as_lines(summarise(splits), [])
    assert " ".join(lines[0].split()) == "split images empty objects crowds classes per image max"
    assert " ".join(lines[1].split()) == "train 6 0 12 0 2 2.0 2"
    assert lines[-1] == "0 errors, 0 warnings, 0 notes"


def test_of_many_classes_the_first_are_shown():
    lines = class_lines(["train"], {f"class {k}": [99 - k] for k in range(25)})
    assert len(lines) == 22
    assert lines[1].split() == ["class", "0", "99"]
    assert lines[-1] == "... and 5 more classes"


def test_json_has_everything(made, splits_of):
    (made.images / "2.png").unlink()
    splits = splits_of(made)
    report = json.loads(json.dumps(as_json(summarise(splits), examine(splits))))
    assert [split["name"] for split in report["splits"]] == ["train", "val"]
    assert report["splits"][0]["images_folder"] == str(made.images)
    assert report["classes"] == {"cat": [6, 6], "dog": [6, 6]}
    (finding,) = report["findings"]
    assert (finding["rule"], finding["severity"]) == ("missing", "error")
    assert (finding["count"], finding["of"], finding["examples"]) == (1, 12, ["train: 2.png"])
