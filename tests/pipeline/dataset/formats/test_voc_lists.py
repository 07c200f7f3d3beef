"""The lists of ImageSets/Main: which of them are splits, and what is said of their rows."""

from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.data_set import read_data_set, splits_of
from fdet.pipeline.dataset.doctor.examine import examine
from fdet.pipeline.dataset.doctor.subject import Split
from fdet.pipeline.dataset.splits.named_splits import read_splits

from .builders import write, write_voc


def lists(root: Path, **names: str) -> Path:
    """A set with these lists, each given by the names of its images."""
    write_voc(root)
    for split, rows in names.items():
        write(root / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{r}\n" for r in rows.split()))
    return root


def names(path: Path, split: str) -> list[str]:
    images = read_data_set(path, split=split).annotations.images
    return [image.file_name for image in images]


def test_the_union_of_two_lists_is_no_third_split(tmp_path):
    path = lists(tmp_path, train="a", val="b c", trainval="a b c")
    assert splits_of(path) == ("train", "val")
    read = read_splits([path])
    assert list(read) == ["train", "val"]
    findings = examine([Split(name, data) for name, data in read.items()])
    assert "leak" not in {finding.rule for finding in findings}


def test_the_union_may_be_asked_for(tmp_path):
    path = lists(tmp_path, train="a", val="b c", trainval="a b c")
    assert names(path, "trainval") == ["a.png", "b.png", "c.png"]
    with pytest.raises(InputError, match=r"--split 'tset': .* has train, val, trainval"):
        read_data_set(path, split="tset")


@pytest.mark.parametrize("row", ["{}.png", "JPEGImages/{}.png", "JPEGImages\\{}.PNG", "{}.png 1"])
def test_a_row_may_name_the_file_of_an_image(row, tmp_path):
    path = lists(tmp_path, val="c")
    rows = "".join(f"{row.format(name)}\n" for name in "ab")
    write(path / "ImageSets" / "Main" / "train.txt", rows)
    assert names(path, "train") == ["a.png", "b.png"]


@pytest.mark.parametrize(
    "place",
    ["train.txt", "ImageSets/train.txt", "ImageSets/Segmentation/val.txt", "train_list.txt"],
)
def test_a_list_in_another_place_is_said_to_be_left_alone(place, tmp_path):
    write_voc(tmp_path)
    write(tmp_path / place, "a\n")
    remarks = read_data_set(tmp_path).annotations.remarks
    assert any(f"1 list of a split is not read: {place}; expected" in text for text in remarks)


@pytest.mark.parametrize("others", [{}, {"test": "c"}, {"val": "b"}])
def test_the_union_without_both_parts_is_a_split(others, tmp_path):
    path = lists(tmp_path, trainval="a b", **others)
    assert splits_of(path) == (*others, "trainval")


def test_lists_without_annotations_are_left_out_and_said(tmp_path):
    path = lists(tmp_path, train="a b", test="x y")
    assert splits_of(path) == ("train",)
    (data,) = read_splits([path]).values()
    assert data.annotations.warnings() == [
        "test: no image of its list has an XML file: this split is left out"
    ]
    with pytest.raises(InputError, match=r"test\.txt: none of its 2 images has an XML file"):
        read_data_set(path, split="test")


@pytest.mark.parametrize("split", ["train", "val", "trainval"])
def test_no_other_list_takes_the_place_of_one_to_train_or_validate_on(split, tmp_path):
    there = "val" if split == "train" else "train"
    path = lists(tmp_path, **{there: "a b", split: "x y"})
    assert set(splits_of(path)) == {there, split}
    wrong = rf"{split}\.txt: none of its 2 images has an XML file, such as .*; correct the list"
    with pytest.raises(InputError, match=wrong):
        read_splits([path])
    assert names(path, there) == ["a.png", "b.png"]


def test_where_no_list_has_annotations_all_are_splits(tmp_path):
    path = lists(tmp_path, train="x", val="y")
    assert splits_of(path) == ("train", "val")
    with pytest.raises(InputError, match=r"train\.txt: its only image lacks an XML file"):
        read_data_set(path, split="train")


def test_a_list_that_is_wrong_stops_no_other(tmp_path):
    path = lists(tmp_path, train="a", val="../../etc/passwd")
    assert splits_of(path) == ("train", "val")
    assert names(path, "train") == ["a.png"]


def test_rows_that_repeat_an_image_are_said(tmp_path):
    path = lists(tmp_path, train="a b a b a")
    data = read_data_set(path)
    assert [image.file_name for image in data.annotations.images] == ["a.png", "b.png"]
    assert data.annotations.warnings() == ["2 images are listed twice: each is taken once: a, b"]
