"""The names of classes are found where a YAML file says nothing else, and are never made up then."""

from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.data_set import read_data_set, splits_of
from fdet.pipeline.dataset.doctor.examine import quick_findings

from .builders import FROM_ZERO, NAMES, assert_same, draw, draw_all, write, write_labels, write_yolo

NAMED = f"names: [{', '.join(NAMES)}]\nnc: {len(NAMES)}\n"


def bare(root: Path) -> Path:
    draw_all(root / "images")
    write_labels(root / "labels")
    return root


def split_below(root: Path) -> Path:
    draw_all(root / "images" / "train")
    write_labels(root / "labels" / "train")
    return root


def split_above(root: Path) -> Path:
    draw_all(root / "train" / "images")
    write_labels(root / "train" / "labels")
    return root


def flat(root: Path) -> Path:
    write_labels(draw_all(root))
    return root


LAYOUTS = (bare, split_below, split_above, flat)


@pytest.mark.parametrize("name", ["data.yaml", "dataset.yml", "birds.yaml"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_alone_are_used_for_the_folder(layout, name, tmp_path):
    root = layout(tmp_path / "set")
    write(root / name, NAMED)
    read = assert_same(root, FROM_ZERO, tmp_path)
    assert read.annotations.warnings() == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_alone_are_used_for_the_file(layout, tmp_path):
    root = layout(tmp_path / "set")
    file = write(root / "data.yaml", NAMED)
    read = assert_same(file, FROM_ZERO, tmp_path)
    said = f"data.yaml names no split: the folders in {root} are taken"
    assert read.annotations.warnings() == [said]
    assert splits_of(file) == (("train",) if layout in (split_below, split_above) else ())


def test_the_folder_may_be_that_of_path(tmp_path):
    bare(tmp_path / "images-and-labels")
    file = write(tmp_path / "data.yaml", f"path: images-and-labels\n{NAMED}")
    assert_same(file, FROM_ZERO, tmp_path)


def test_empty_splits_are_as_none(tmp_path):
    root = split_below(tmp_path / "set")
    write(root / "data.yaml", f"train:\nval: ''\n{NAMED}")
    assert_same(root, FROM_ZERO, tmp_path)


def test_a_darknet_description_may_name_classes_alone(tmp_path):
    root = bare(tmp_path / "set")
    write(root / "obj.names", "".join(f"{name}\n" for name in NAMES))
    write(root / "obj.data", "classes = 3\nnames = obj.names\n")
    assert_same(root, FROM_ZERO, tmp_path)


@pytest.mark.parametrize("inside", ["train", "train/images"])
def test_names_above_are_used_and_said(inside, tmp_path):
    root = split_above(tmp_path / "set")
    file = write(root / "data.yaml", NAMED)
    read = assert_same(root / inside, FROM_ZERO, tmp_path)
    assert read.annotations.warnings() == [f"the class names are those of {file}"]


def test_names_above_that_describe_another_set_are_not_used(tmp_path):
    root = bare(tmp_path / "above" / "set")
    write_yolo(tmp_path / "above")
    (remark,) = read_data_set(root).annotations.warnings()
    assert remark.startswith("no file such as classes.txt names the classes")


def test_names_that_differ_are_refused(tmp_path):
    root = bare(tmp_path)
    write(root / "classes.txt", "cat\ndog\nowl\n")
    write(root / "data.yaml", NAMED)
    with pytest.raises(InputError, match=r"data\.yaml: its classes differ from those of .*classes"):
        read_data_set(root)


def test_other_yaml_files_name_nothing(tmp_path):
    root = bare(tmp_path / "set")
    write(root / "hyp.yaml", "lr0: 0.01\nepochs: 3\n")
    write(root / "data.yaml", NAMED)
    assert_same(root, FROM_ZERO, tmp_path)


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("splits", ["", "train: train/images\n"])
def test_keypoints_are_left_out_wherever_they_are_described(above, splits, tmp_path):
    """Two keypoints behind a box have as many numbers as a polygon of four corners."""
    folder = tmp_path / "train"
    draw(folder / "images" / "a.png")
    write(folder / "labels" / "a.txt", "0 0.5 0.5 0.5 0.5 0.1 0.2 0.3 0.4\n")
    write(tmp_path / "data.yaml", f"names: [cat]\nkpt_shape: [2, 2]\n{splits}")
    data = read_data_set(folder if above else tmp_path)
    assert data.annotations.packed.boxes.tolist() == [[10, 7.5, 30, 22.5]]
    assert "keypoints are left out: only boxes are read" in data.annotations.warnings()


def test_an_alias_is_what_it_stands_for(tmp_path):
    split_below(tmp_path / "set")
    text = f"train: &images images/train\nval: *images\n{NAMED}"
    write(tmp_path / "set" / "data.yaml", text)
    assert_same(tmp_path / "set", FROM_ZERO, tmp_path, split="val")


def test_names_that_are_one_without_blanks_are_two_classes_and_it_is_said(tmp_path):
    write_yolo(tmp_path)
    text = "train: images/train\nnames: ['cat', 'cat ', 'ant']\n"
    data = read_data_set(write(tmp_path / "data.yaml", text))
    assert data.annotations.class_ids == (0, 1, 2)
    (finding,) = [finding for finding in quick_findings(data) if finding.rule == "alike"]
    assert finding.examples == ("'cat' (id 0), 'cat' (id 1)",)
