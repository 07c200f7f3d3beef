"""A split of which only the images are there: no other takes its place, and what is left out is said."""

import json
from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.data_set import read_data_set, splits_of
from fdet.pipeline.dataset.splits.named_splits import read_splits

from .builders import FROM_ZERO, HEADER, coco, csv_rows, draw_all, write, write_xml


def roboflow_coco(folder: Path) -> None:
    write(folder / "_annotations.coco.json", json.dumps(coco(FROM_ZERO)))


def fiftyone(folder: Path) -> None:
    write(folder / "labels.json", json.dumps(coco(FROM_ZERO)))


def central_coco(folder: Path) -> None:
    name = f"instances_{folder.name}.json"
    write(folder.parent / "annotations" / name, json.dumps(coco(FROM_ZERO)))


def voc(folder: Path) -> None:
    write_xml(folder)


def csv(folder: Path) -> None:
    write(folder / "_annotations.csv", HEADER + csv_rows())


ALL = (roboflow_coco, fiftyone, central_coco, voc, csv)


def made(root: Path, label, *, labelled: str, alone: str) -> Path:
    for split in (labelled, alone):
        draw_all(root / split)
    label(root / labelled)
    return root


@pytest.mark.parametrize("label", ALL)
@pytest.mark.parametrize(("labelled", "alone"), [("valid", "train"), ("train", "valid")])
def test_one_that_is_needed_is_refused(label, labelled, alone, tmp_path):
    root = made(tmp_path / "set", label, labelled=labelled, alone=alone)
    assert splits_of(root) == ("train", "valid")
    assert read_data_set(root, split=labelled).annotations.remarks == ()
    for read in (lambda: read_data_set(root, split=alone), lambda: read_splits([root])):
        with pytest.raises(
            InputError, match=rf"set/{alone}: it has images, and .* is not there: put"
        ):
            read()


@pytest.mark.parametrize("label", ALL)
def test_a_test_split_is_left_out_and_said(label, tmp_path):
    root = made(tmp_path / "set", label, labelled="train", alone="test")
    assert splits_of(root) == ("train",)
    (remark,) = read_data_set(root).annotations.remarks
    assert remark.startswith(f"{root / 'test'} has images, and ")
    assert remark.endswith("is not there: this split is left out")


@pytest.mark.parametrize("label", ALL)
def test_names_of_one_split_and_folders_without_images_are_no_matter(label, tmp_path):
    root = made(tmp_path / "set", label, labelled="train", alone="train2017")
    (root / "val").mkdir()
    assert splits_of(root) == ("train",)
    assert read_data_set(root).annotations.remarks == ()
