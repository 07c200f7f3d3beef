"""Each rule finds its fault in a data set that is sound but for it, counts it and names the first."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fdet.pipeline.dataset.doctor.examine import examine
from fdet.pipeline.dataset.doctor.finding import Severity
from fdet.pipeline.dataset.doctor.rules import RULES, Depth
from fdet.pipeline.dataset.images.views import ResizeRule

from ..made import HEIGHT, WIDTH, draw, sound

NOTE, WARNING, ERROR = Severity.note, Severity.warning, Severity.error


def boxes(made, split="train"):
    return made.splits[split]["annotations"]


def image(made, number, split="train"):
    return made.splits[split]["images"][number]


def no_file(made):
    (made.images / "2.png").unlink()


def damaged(made):
    path = made.images / "3.png"
    Image.open(path).save(path, format="jpeg")
    path.write_bytes(path.read_bytes()[:-400])


def another_size(made):
    draw(made.images / "1.png", 100, WIDTH + 1, HEIGHT)


def corners(made):
    for box in boxes(made, "val"):
        x, y, w, h = box["bbox"]
        box["bbox"] = [x, y, x + w, y + h]


def one_more_class(made):
    made.splits["val"]["categories"].append({"id": 9, "name": "cow"})
    boxes(made, "val")[0]["category_id"] = 9


def shared(made):
    shutil.copy(made.images / "0.png", made.images / "9.png")


def repeated_content(made):
    for name in ("3.png", "4.png"):
        shutil.copy(made.images / "1.png", made.images / name)


def listed_twice(made):
    made.add("train", "2.png", (1, [1, 1, 9, 9]))


def beyond(made):
    boxes(made)[1]["bbox"] = [40, 10, 8 + 1.5, 8]


def without_area(made):
    boxes(made)[0]["bbox"] = [1, 1, 0, 5]
    boxes(made)[2]["bbox"] = [WIDTH + 1, 1, 5, 5]


def tiny(made):
    boxes(made)[0]["bbox"] = [1, 1, 0.9, 9]


def small(made):
    boxes(made)[0]["bbox"] = [1, 1, 7, 7]


def same_box(made):
    x, y, w, h = boxes(made)[3]["bbox"]
    boxes(made).append({**boxes(made)[3], "bbox": [x + 0.4, y + 0.4, w, h]})


def thin(made):
    boxes(made)[0]["bbox"] = [1, 1, 42, 2]


def few(made):
    made.splits["train"]["categories"].append({"id": 9, "name": "cow"})
    made.splits["val"]["categories"].append({"id": 9, "name": "cow"})
    for split in ("train", "val"):
        boxes(made, split)[0]["category_id"] = 9


def only_in_train(made):
    for box in boxes(made, "val"):
        box["category_id"] = 1
    for k in range(5):
        boxes(made)[2 * k]["category_id"] = 4


def alike(made):
    for split in ("train", "val"):
        made.splits[split]["categories"].append({"id": 7, "name": " DOG"})
        for k in range(6):
            made.add(split, f"{split}{k}.png", (7, [1, 1, 9, 9]))
            draw(made.images / f"{split}{k}.png", 50 + k + 10 * len(split))


def no_class(made):
    for split in ("train", "val"):
        made.splits[split]["categories"].append({"id": 9, "name": "cow"})


def empty(made):
    made.splits["val"]["annotations"] = boxes(made, "val")[2:]


def by_case(made):
    draw(made.images / "a.png", 40)
    draw(made.images / "A.png", 41)
    made.add("train", "a.png", (1, [1, 1, 9, 9]))
    made.add("val", "A.png", (1, [1, 1, 9, 9]))


def by_suffix(made):
    draw(made.images / "4.bmp", 42)
    made.add("val", "4.bmp", (1, [1, 1, 9, 9]))


def not_listed(made):
    draw(made.images / "more.png", 43)
    draw(made.images / "other" / "far.png", 44)
    (made.images / ".hidden.png").touch()
    (made.images / "readme.txt").touch()


def turned(made, entry):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.open(made.images / "5.png")
    stored.save(made.images / "5.png", exif=exif)
    entry["width"], entry["height"] = HEIGHT, WIDTH
    for box in boxes(made):
        if box["image_id"] == entry["id"]:
            box["bbox"] = [2, 2 + box["category_id"], 9, 9]


def rotated(made):
    turned(made, image(made, 5))


def not_rotated(made):
    turned(made, {"id": -1})


def deep(made):
    values = np.random.default_rng(7).integers(0, 4000, (HEIGHT, WIDTH)).astype(np.uint16)
    values[0, 0] = 4001
    Image.fromarray(values).save(made.images / "8.png")


def grey(made):
    Image.open(made.images / "8.png").convert("L").convert("RGB").save(made.images / "8.png")


def below_0(made):
    values = np.random.default_rng(7).uniform(-5, 1, (HEIGHT, WIDTH)).astype(np.float32)
    values[0, 0] = -5
    Image.fromarray(values).save(made.images / "8.tif")
    image(made, 2, "val")["file_name"] = "8.tif"
    (made.images / "8.png").unlink()


def texts(made):
    for k, entry in enumerate(made.splits["val"]["images"]):
        entry["id"] = f"photo-{k}"
    for k, box in enumerate(boxes(made, "val")):
        box["image_id"] = f"photo-{k // 2}"


# By rule: the spoiler, how bad it is, the numbers, the first example, and the other rules that find it too.
CASES = {
    "missing": (no_file, ERROR, "1 of 12", "train: 2.png", ()),
    "unreadable": (damaged, ERROR, "1 of 12", "train: 3.png: ", ()),
    "size": (another_size, ERROR, "1 of 12", "train: 1.png: file 49x32, annotations 48x32", ()),
    "range": (below_0, ERROR, "1 of 12", "val: 8.tif: floating-point", ("grey", "deep")),
    "box-format": (corners, ERROR, "12 of 24", "val: they seem to be x1, y1, x2, y2", ()),
    "class-ids": (one_more_class, ERROR, "1 of 3", "9 cow: only in val", ("few", "one-split")),
    "leak": (shared, ERROR, "1 of 11", "train: 0.png = val: 9.png", ()),
    "duplicate": (repeated_content, WARNING, "2 of 12", "train: 3.png = 1.png", ()),
    "listed-twice": (listed_twice, WARNING, "1 of 13", "train: 2.png (2 times)", ()),
    "beyond": (beyond, WARNING, "1 of 24", "train: 0.png: dog 9.5 x 8 px at 40, 10", ()),
    "left-out": (without_area, WARNING, "2 of 24", "train: 0.png: [1, 1, 0, 5]", ()),
    "tiny": (tiny, WARNING, "1 of 24", "train: 0.png: cat 0.9 x 9 px at 1, 1", ()),
    "small": (small, NOTE, "1 of 24", "train: 0.png: cat 7 x 7 px at 1, 1", ()),
    "repeated-box": (same_box, WARNING, "1 of 25", "train: 1.png: dog 9 x 8 px at 20.4, 11.4", ()),
    "thin": (thin, NOTE, "1 of 24", "train: 0.png: cat 42 x 2 px at 1, 1", ()),
    "few": (few, WARNING, "1 of 3", "cow: 2", ()),
    "one-split": (only_in_train, WARNING, "1 of 2", "dog: only in train", ()),
    "alike": (alike, WARNING, "1 of 2", "'dog' (id 4), ' DOG' (id 7)", ()),
    "no-class": (no_class, NOTE, "1 of 3", "cow", ()),
    "empty": (empty, NOTE, "1 of 12", "val: 6.png", ()),
    "case": (by_case, WARNING, "1 of 14", "A.png, a.png", ()),
    "suffix": (by_suffix, NOTE, "1 of 13", "4.bmp, 4.png", ()),
    "not-listed": (not_listed, NOTE, "1 of 13", "more.png", ()),
    "rotated": (rotated, NOTE, "1 of 12", "train: 5.png: orientation 6", ()),
    "not-rotated": (not_rotated, WARNING, "1 of 12", "train: 5.png: orientation 6", ()),
    "deep": (deep, NOTE, "1 of 12", "val: 8.png: up to 4001", ("grey",)),
    "grey": (grey, NOTE, "1 of 12", "val: 8.png", ()),
    "assumed": (texts, NOTE, "1", "val: image ids are texts such as 'photo-0'", ()),
}
RESIZE = {"small": ResizeRule(16, 24, False, 1)}


def test_the_docs_list_every_rule_and_its_severity():
    page = (Path(__file__).parents[4] / "docs" / "data.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*) \| (\w+).* \|$", page, flags=re.MULTILINE)
    assert rows == [(name, rule.help, CASES[name][1]) for name, rule in RULES.items()]


def test_a_sound_data_set_has_no_finding(made, findings_of):
    assert findings_of(made) == {}
    assert findings_of(made, resize=ResizeRule(32, 48, False, 1)) == {}


def test_every_rule_has_a_case():
    assert list(CASES) == list(RULES)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_finds_its_fault_alone(rule, made, findings_of):
    spoil, severity, numbers, example, others = CASES[rule]
    spoil(made)
    found = findings_of(made, resize=RESIZE.get(rule))
    assert set(found) == {rule, *others}
    finding = found[rule]
    assert (finding.severity, finding.numbers) == (severity, numbers)
    assert finding.examples[0].startswith(example)
    assert finding.advice


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_that_needs_no_pixels_finds_as_much_without(rule, made, findings_of):
    CASES[rule][0](made)
    deep, quick = (
        findings_of(made, depth, RESIZE.get(rule)) for depth in (Depth.pixels, Depth.headers)
    )
    if rule in ("leak", "unreadable", "deep") or RULES[rule].needs is Depth.pixels:
        assert quick.get(rule) != deep[rule]
    else:
        assert quick[rule] == deep[rule]


def test_a_file_that_two_splits_list_is_a_leak_without_reading_it(made, findings_of):
    made.add("val", "2.png", (1, [1, 1, 9, 9]))
    finding = findings_of(made, Depth.annotations)["leak"]
    assert finding.examples == ("train: 2.png = val: 2.png",)


def test_a_few_images_of_many_that_leak_are_a_warning(made, findings_of):
    for k in range(100):
        made.add("train", f"train-{k}.png", (1, [1, 1, 9, 9]))
        made.add("val", f"val-{k}.png", (1, [1, 1, 9, 9]))
    made.add("val", "2.png", (1, [1, 1, 9, 9]))
    assert findings_of(made, Depth.annotations)["leak"].severity is WARNING


def test_reasons_for_which_boxes_are_left_out_are_counted_over_all_splits(made, findings_of):
    for split in made.splits:
        boxes(made, split)[0]["bbox"] = [1, 1, 0, 5]
    boxes(made)[2]["bbox"] = [WIDTH + 1, 1, 5, 5]
    finding = findings_of(made)["left-out"]
    assert finding.count == 3
    assert finding.what == "boxes are left out: 2 of zero size, 1 outside the image"


def test_crowds_are_no_repeated_tiny_or_thin_boxes(made, findings_of):
    for box in ([1, 1, 40, 0.5], [1, 1, 40, 0.5]):
        crowd = {"image_id": 1, "category_id": 1, "bbox": box, "iscrowd": 1}
        boxes(made).append(crowd)
    assert findings_of(made) == {}


def test_boxes_repeat_only_those_of_their_class_and_image(made, findings_of):
    boxes(made)[0]["bbox"] = boxes(made)[1]["bbox"] = boxes(made)[2]["bbox"]
    assert findings_of(made) == {}


@pytest.mark.parametrize("count", [2, 3, 40])
def test_each_repetition_counts_once(count, made, findings_of):
    for _ in range(count - 1):
        boxes(made).insert(0, boxes(made)[-1])
    assert findings_of(made)["repeated-box"].count == count - 1


def test_repetitions_against_comparing_all_pairs(made, findings_of):
    chance = np.random.default_rng(5)
    for corner in chance.integers(0, 12, (60, 2)) / 4:
        boxes(made).append(
            {
                "image_id": int(chance.integers(1, 3)),
                "category_id": int(chance.choice([1, 4])),
                "bbox": [*corner.tolist(), *(chance.integers(20, 23, 2) / 4).tolist()],
            }
        )

    def same(a, b):
        corners = [np.array([x, y, x + w, y + h]) for x, y, w, h in (a["bbox"], b["bbox"])]
        close = np.abs(corners[0] - corners[1]).max() <= 0.5
        return close and all(a[n] == b[n] for n in ("image_id", "category_id"))

    rows = boxes(made)
    expected = sum(any(same(rows[j], rows[k]) for j in range(k)) for k in range(len(rows)))
    assert expected > 5
    assert findings_of(made)["repeated-box"].count == expected


def test_boxes_of_another_format_are_not_tiny_too(made, findings_of):
    for split in ("train", "val"):
        for box in boxes(made, split):
            x, y, w, h = box["bbox"]
            box["bbox"] = [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]
    found = findings_of(made)
    assert set(found) == {"box-format"}
    assert found["box-format"].examples[0] == "train: they seem to be fractions of the image"


def all_crowds(made):
    for coco in made.splits.values():
        for box in coco["annotations"]:
            box["iscrowd"] = 1


def no_list(made):
    for coco in made.splits.values():
        del coco["annotations"]


def empty_list(made):
    for coco in made.splits.values():
        coco["annotations"] = []


@pytest.mark.parametrize("spoil", [all_crowds, no_list, empty_list])
def test_a_data_set_without_any_object_is_an_error(spoil, made, findings_of):
    spoil(made)
    finding = findings_of(made)["empty"]
    assert (finding.severity, finding.numbers) == (ERROR, "12 of 12")
    assert finding.examples[0] == "train: 0.png"


@pytest.mark.parametrize(
    ("high", "severity"), [(250, WARNING), (4000, WARNING), (1e6, ERROR), (1.001, None)]
)
def test_a_range_that_an_option_mends_is_a_warning(high, severity, made, findings_of):
    below_0(made)
    Image.fromarray(np.full((HEIGHT, WIDTH), high, np.float32)).save(made.images / "8.tif")
    found = findings_of(made).get("range")
    assert (found and found.severity) == severity
    assert severity is not WARNING or "give --bits" in found.examples[0]


def test_values_that_are_no_numbers_are_damage(made, findings_of):
    below_0(made)
    Image.fromarray(np.full((HEIGHT, WIDTH), np.nan, np.float32)).save(made.images / "8.tif")
    found = findings_of(made)
    assert "range" not in found
    assert found["unreadable"].examples == (
        "val: 8.tif: it stores pixels that are NaN or infinite",
    )


def test_rare_classes_that_the_file_declares_are_a_note(made, findings_of):
    few(made)
    for coco in made.splits.values():
        for category in coco["categories"]:
            category["frequency"] = "r"
    assert findings_of(made)["few"].severity is NOTE


def test_a_split_that_has_no_objects_is_not_one_without_the_classes(made, findings_of):
    made.splits["val"]["annotations"] = []
    assert "one-split" not in findings_of(made)


def test_names_that_share_a_label_file_are_a_warning(made, splits_of):
    by_suffix(made)
    train, val = splits_of(made)
    val = replace(val, data=replace(val.data, format="yolo"))
    (finding,) = examine([train, val])
    assert (finding.rule, finding.severity) == ("suffix", WARNING)


def test_names_that_no_file_can_have_are_missing(made, findings_of):
    made.add("train", "x" * 300, (1, [1, 1, 9, 9]))
    made.add("train", "0.png/inside.png", (1, [1, 1, 9, 9]))
    assert findings_of(made)["missing"].count == 2


def test_one_split_is_named_by_no_example(tmp_path, findings_of):
    made = sound(tmp_path)
    del made.splits["val"]
    no_file(made)
    assert findings_of(made)["missing"].examples == ("2.png",)


def test_a_class_that_validation_alone_does_not_list_is_a_note(made, findings_of):
    """What is trained on it is right for the other classes, which have the same ids."""
    name = made.splits["val"]["categories"][0]["name"]
    number = made.splits["val"]["categories"].pop(0)["id"]
    for box in boxes(made, "val"):
        box["category_id"] = made.splits["val"]["categories"][0]["id"]
    finding = findings_of(made)["class-ids"]
    assert (finding.severity, finding.examples) == (NOTE, (f"{number} {name}: only in train",))
    made.splits["val"]["categories"][0]["id"] += 50
    for box in boxes(made, "val"):
        box["category_id"] += 50
    assert findings_of(made)["class-ids"].severity is ERROR
