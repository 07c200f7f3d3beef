"""Where images lie beside their annotations, and which file a name means."""

import unicodedata

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.images.folders import actual_names, images_folder

from ..formats.builders import write

NAMES = ["a.png", "b/c.png"]


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("train.json", "images"),
        ("train.json", "train"),
        ("train.json", "images/train"),
        ("train.json", "."),
        ("instances_val2017.json", "val2017"),
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val2017.json", "val"),
        ("annotations/train.json", "images"),
        ("annotations/train.json", "images/train"),
        ("train/_annotations.coco.json", "train"),
    ],
)
def test_images_are_found_beside_their_annotations(file, folder, tmp_path):
    for name in NAMES:
        write(tmp_path / folder / name, "")
    assert images_folder(tmp_path / file, NAMES) == tmp_path / folder


def test_a_folder_must_have_most_of_the_images_and_the_fullest_is_taken(tmp_path):
    names = [f"{k}.png" for k in range(10)]
    for name in names[:6]:
        write(tmp_path / "images" / name, "")
    for name in names[:9]:
        write(tmp_path / "train" / name, "")
    assert images_folder(tmp_path / "train.json", names) == tmp_path / "train"
    for name in names[4:9]:
        (tmp_path / "train" / name).unlink()
    for name in names[5:6]:
        (tmp_path / "images" / name).unlink()
    with pytest.raises(
        InputError, match=r"such as 0\.png, are in none of .*images.*; give --images"
    ):
        images_folder(tmp_path / "train.json", names)


def test_a_name_that_is_too_long_is_in_no_folder(tmp_path):
    write(tmp_path / "images" / "a.png", "")
    with pytest.raises(InputError, match="--images"):
        images_folder(tmp_path / "train.json", ["x" * 5000])


def test_names_that_are_there_stay(tmp_path):
    write(tmp_path / "a.png", "")
    assert actual_names(tmp_path, ["a.png"]) == {}


@pytest.mark.parametrize(
    ("given", "actual"),
    [
        ("A.JPG", "a.jpg"),
        ("sub/a.jpg", "Sub/a.jpg"),
        ("other/a.jpg", "a.jpg"),
        ("a.jpg", "deep/down/a.jpg"),
        ("a.jpeg", "a.jpg"),
        ("A", "photos/a.JPG"),
        ("0001.v2", "0001.v2.png"),
        (unicodedata.normalize("NFD", "é.jpg"), unicodedata.normalize("NFC", "é.jpg")),
        (unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg")),
    ],
)
def test_a_missing_name_means_the_only_file_that_it_can(given, actual, tmp_path):
    write(tmp_path / actual, "")
    assert actual_names(tmp_path, [given]) == {given: actual}


def test_names_in_doubt_and_those_that_are_nowhere_stay(tmp_path):
    for name in ("x/a.jpg", "y/a.jpg", "z/b.jpg"):
        write(tmp_path / name, "")
    assert actual_names(tmp_path, ["a.jpg"]) == {}, "two files have it"
    assert actual_names(tmp_path, ["u/b.jpg", "v/b.jpg"]) == {}, "one file for two names"
    assert actual_names(tmp_path, ["u/b.jpg", "z/b.jpg"]) == {}, "the file has its own name"
    assert actual_names(tmp_path, ["nowhere.jpg"]) == {}
    write(tmp_path / "c.txt", "")
    for name in ("d.jpg", "d.png"):
        write(tmp_path / name, "")
    assert actual_names(tmp_path, ["c.jpg"]) == {}, "the file is no image"
    assert actual_names(tmp_path, ["d.bmp"]) == {}, "two images have it"
    assert actual_names(tmp_path, ["z/b.jpg", "d.bmp"]) == {}, "other names are right"
    assert actual_names(tmp_path / "absent", ["a.jpg"]) == {}


def test_a_picture_that_fdet_drew_is_not_a_missing_image(tmp_path):
    write(tmp_path / "photos" / "a.png", "")
    write(tmp_path / "found" / "pictures" / "a.png", "")
    write(tmp_path / "found" / "detections.json", "[]")
    assert actual_names(tmp_path, ["a.png"]) == {"a.png": "photos/a.png"}


@pytest.mark.parametrize(
    ("given", "actual"),
    [
        ("I{}.JPG", "i{}.jpg"),
        ("dataset/img/i{}.jpg", "i{}.jpg"),
        ("C:\\photos\\I{}.jpg", "i{}.jpg"),
        ("photos/i{}", "i{}.jpg"),
        ("i{}.png", "I{}.jpeg"),
        (unicodedata.normalize("NFD", "é{}.jpg"), unicodedata.normalize("NFC", "é{}.jpg")),
    ],
)
@pytest.mark.parametrize("beside", ["", "images"])
def test_the_folder_is_found_though_names_differ_from_those_on_the_disk(
    beside, given, actual, tmp_path
):
    for k in range(3):
        write(tmp_path / beside / actual.format(k), "")
    names = [given.format(k) for k in range(3)]
    assert images_folder(tmp_path / "train.json", names) == tmp_path / beside
    with pytest.raises(InputError, match="are in none of"):
        images_folder(tmp_path / "train.json", ["x.jpg", "y.jpg", names[0]])
