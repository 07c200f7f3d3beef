"""Splits are named as people call them, and told apart where two would have one name."""

import json
from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.splits.named_splits import read_splits

from ..formats.builders import write_csv
from ..made import sound


def test_files_give_their_names(tmp_path):
    made = sound(tmp_path)
    assert list(read_splits(made.write(), made.images)) == ["train", "val"]
    assert list(read_splits(made.write()[:1])) == ["train"]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["instances_train2017.json", "instances_val2017.json"], ["train", "val"]),
        (["lvis_v1_train.json", "lvis_v1_val.json"], ["train", "val"]),
        (["train2014.json", "train2017.json"], ["train2014", "train2017"]),
        (["a/_annotations.coco.json", "b/_annotations.coco.json"], ["a", "b"]),
        (["2017.json", "photos_7.json"], ["2017", "photos_7"]),
    ],
)
def test_what_tools_add_to_names_is_left_out(files, names, tmp_path):
    made = sound(tmp_path)
    for file, coco in zip(files, made.splits.values(), strict=True):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(json.dumps(coco))
    assert list(read_splits([tmp_path / file for file in files], made.images)) == names


def test_one_name_in_two_folders_is_told_apart(tmp_path):
    paths = []
    for folder in ("a", "b"):
        paths.append(sound(tmp_path / folder).write()[0])
    assert list(read_splits(paths)) == [str(path) for path in paths]


def test_a_folder_has_all_its_splits_or_those_asked_for(tmp_path):
    sound(tmp_path).write()
    assert list(read_splits([tmp_path])) == ["train", "val"]
    assert list(read_splits([tmp_path], names=["val"])) == ["val"]


def test_each_path_may_have_its_own_images(tmp_path):
    paths = sound(tmp_path).write()
    (tmp_path / "images").rename(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    read = read_splits(paths, [tmp_path / "other", tmp_path / "empty"])
    assert [data.images for data in read.values()] == [tmp_path / "other", tmp_path / "empty"]
    read = read_splits(paths, [tmp_path / "other"])
    assert [data.images for data in read.values()] == [tmp_path / "other"] * 2


def test_what_cannot_be_meant_is_refused(tmp_path):
    paths = sound(tmp_path).write()
    with pytest.raises(InputError, match="--images: expected one folder, or one for each of 2"):
        read_splits(paths, [tmp_path] * 3)
    with pytest.raises(InputError, match="a path is given twice"):
        read_splits([paths[0], paths[0]])
    with pytest.raises(InputError, match="--split chooses among the splits of one path"):
        read_splits(paths, names=["val"])
    with pytest.raises(InputError, match="--split 'tset'"):
        read_splits([tmp_path], names=["tset"])


@pytest.mark.parametrize("path", [".", "./", "..", "../../set"])
def test_a_folder_without_a_name_of_its_own_has_that_of_its_place(path, tmp_path, monkeypatch):
    folder = tmp_path / "set"
    write_csv(folder)
    monkeypatch.chdir(folder / "images" if path.startswith("..") else folder)
    assert list(read_splits([Path(path)])) == ["set"]
