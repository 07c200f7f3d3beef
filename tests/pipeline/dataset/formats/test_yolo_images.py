"""Nothing of a YOLO data set is lost in silence: which images a split has, and the label file of each."""

import os
from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.data_name import DataName
from fdet.pipeline.dataset.data_set import check_data_name, read_data_set, splits_of
from fdet.pipeline.dataset.splits.named_splits import read_splits

from .builders import FROM_ZERO, assert_same, draw, draw_all, write, write_labels, write_yolo

BOX = "0 0.5 0.5 0.5 0.5\n"
NAMED = "names: [cat, dog, ant]\n"


def remarks(path: Path, **arguments) -> list[str]:
    return read_data_set(path, **arguments).annotations.warnings()


def names(path: Path, **arguments) -> list[str]:
    return [image.file_name for image in read_data_set(path, **arguments).annotations.images]


def listed(root: Path, *rows: str) -> Path:
    """A set whose images are in a list."""
    draw_all(root / "images")
    write_labels(root / "labels")
    write(root / "train.txt", "".join(f"{row}\n" for row in rows))
    return write(root / "data.yaml", f"train: train.txt\n{NAMED}")


@pytest.mark.parametrize("prefix", ["", "./", "C:\\set\\", "/data/set/"])
def test_rows_and_folders_may_be_in_other_case(prefix, tmp_path):
    for text, rows in (("TRAIN.txt", True), (f"{prefix}Images", False)):
        root = tmp_path / str(rows)
        listed(root, *(f"{prefix}IMAGES/{name.upper()}" for name in ("a.png", "b.png", "c.png")))
        file = write(root / "data.yaml", f"train: '{text}'\n{NAMED}")
        read = assert_same(file, FROM_ZERO, tmp_path)
        assert any("is taken" in remark for remark in read.annotations.warnings())
        assert any("under another name" in r for r in read.annotations.warnings()) == rows


def test_a_row_in_other_case_must_mean_one_file(tmp_path):
    file = listed(tmp_path, "images/a.png", "images/B.Png")
    draw(tmp_path / "images" / "B.PNG", (9, 9))
    with pytest.raises(InputError, match=r"1 of 2 images are missing.*images/B\.Png"):
        read_data_set(file)


@pytest.mark.parametrize("name", [".h.png", ".hidden/h.png"])
def test_hidden_images_with_labels_are_said(name, tmp_path):
    file = write_yolo(tmp_path)
    draw(tmp_path / "images" / "train" / name, (9, 9))
    write((tmp_path / "labels" / "train" / name).with_suffix(".txt"), BOX)
    assert remarks(file) == [
        f"1 hidden image has a label file and is left out; rename it to use it: {name}"
    ]


@pytest.mark.parametrize(
    ("image", "label"),
    [(".h.png", None), ("._a.png", b"\0\x05\x16\7"), ("@eaDir/h.png", BOX), ("x/.h.txt", BOX)],
)
def test_what_systems_leave_behind_is_not(image, label, tmp_path):
    file = write_yolo(tmp_path)
    draw(tmp_path / "images" / "train" / f"{image}.png", (9, 9)).rename(
        tmp_path / "images" / "train" / image
    )
    if label is not None:
        write((tmp_path / "labels" / "train" / image).with_suffix(".txt"), label)
    hidden = [line for line in remarks(file) if "hidden" in line]
    assert hidden == []


def test_lines_that_repeat_an_image_are_said(tmp_path):
    file = listed(tmp_path, "images/a.png", "images/b.png", "images/a.png", "./images/a.png")
    assert names(file) == ["a.png", "b.png"]
    assert remarks(file) == [
        "train.txt: 2 lines repeat an image of the list: each is taken once: images/a.png, "
        "./images/a.png"
    ]


@pytest.mark.parametrize(
    "places", ["[images, images]", "[train.txt, images]", "[images, images/.]"]
)
def test_images_of_several_places_are_said(places, tmp_path):
    listed(tmp_path, "images/a.png", "images/b.png", "images/c.png")
    file = write(tmp_path / "data.yaml", f"train: {places}\n{NAMED}")
    assert names(file) == ["a.png", "b.png", "c.png"]
    assert remarks(file) == ["3 images are in several places of train: each is taken once"]


def folder(path: Path) -> None:
    path.mkdir()


def broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [folder, broken_link, os.mkfifo])
def test_a_label_that_is_no_file_is_said(make, tmp_path):
    file = write_yolo(tmp_path)
    label = tmp_path / "labels" / "train" / "a.txt"
    label.unlink()
    make(label)
    (remark,) = remarks(file)
    assert remark == (
        f"1 label file is a folder, a pipe or a broken link: its image has no objects: {label}"
    )


@pytest.mark.parametrize(
    ("image", "label"), [("IM0.JPG", "im0.txt"), ("im0.jpg", "IM0.TXT"), ("Ä.png", "A\u0308.txt")]
)
def test_a_label_of_another_case_is_taken(image, label, tmp_path):
    file = write_yolo(tmp_path)
    draw(tmp_path / "x.png", (10, 10)).rename(tmp_path / "images" / "train" / image)
    write(tmp_path / "labels" / "train" / label, BOX)
    data = read_data_set(file)
    assert data.annotations.warnings() == [
        f"1 label file has a name of other case: {label} for {image}"
    ]
    found = data.annotations.of_image(data.annotations.named[image].id)
    assert found.boxes.tolist() == [[2.5, 2.5, 7.5, 7.5]]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["im0.jpg", "IM0.jpg"], ["im0.txt"]),  # It is that of the other image.
        (["Im0.jpg", "iM0.jpg"], ["im0.txt"]),  # It could be that of either.
        (["Im0.jpg"], ["im0.txt", "IM0.txt"]),  # Either could be its label.
        (["README.jpg"], ["readme.txt"]),  # It is no label.
    ],
)
def test_a_label_of_another_case_is_never_guessed(images, labels, tmp_path):
    file = write_yolo(tmp_path)
    for image in images:
        draw(tmp_path / "x.png", (10, 10)).rename(tmp_path / "images" / "train" / image)
    for label in labels:
        write(tmp_path / "labels" / "train" / label, BOX)
    assert not any("other case" in line for line in remarks(file, whole=False))
    data = read_data_set(file, whole=False)
    counts = [len(data.annotations.of_image(data.annotations.named[i].id)) for i in images]
    assert counts == [int("im0.jpg" in images), 0][: len(images)]
    assert len(data.missing) == (len(labels) if sum(counts) == 0 and "im0.txt" in labels else 0)


def test_labels_of_another_case_are_found_for_moved_images_too(tmp_path):
    file = write_yolo(tmp_path / "set")
    (tmp_path / "set" / "images" / "train").rename(tmp_path / "photos")
    (tmp_path / "photos" / "a.png").rename(tmp_path / "photos" / "A.PNG")
    said = remarks(file, images=tmp_path / "photos")
    assert "1 label file has a name of other case: a.txt for A.PNG" in said
    assert names(file, images=tmp_path / "photos") == ["A.PNG", "b.png"]


def test_a_backslash_is_a_letter_where_there_is_such_a_file(tmp_path):
    file = listed(tmp_path, "images/a.png", "images\\b.png", "images/x\\y.png")
    draw(tmp_path / "images" / "x\\y.png", (10, 10))
    write(tmp_path / "labels" / "x\\y.txt", BOX)
    data = read_data_set(file)
    assert [image.file_name for image in data.annotations.images] == ["a.png", "b.png", "x\\y.png"]
    assert data.annotations.warnings() == ["1 image has a backslash in its name: x\\y.png"]
    assert data.images is not None
    assert all((data.images / image.file_name).is_file() for image in data.annotations.images)


def test_the_literal_file_counts_before_the_path(tmp_path):
    file = listed(tmp_path, "images\\a.png")
    draw(tmp_path / "images\\a.png", (7, 7))
    write(tmp_path / "images\\a.txt", BOX)
    (image,) = read_data_set(file).annotations.images
    assert (image.file_name, image.hw) == ("images\\a.png", (7, 7))


def unfinished(root: Path, split: str = "val", text: str = "images/val") -> Path:
    """A set whose YAML file names a split that is not there."""
    write_yolo(root)
    return write(root / "data.yaml", f"train: images/train\n{split}: {text}\n{NAMED}")


@pytest.mark.parametrize("text", ["images/test", "../test/images"])
def test_a_test_split_that_is_not_there_does_not_stop_the_others(text, tmp_path):
    file = unfinished(tmp_path / "set", "test", text)
    said = [f"test: {text} is not there: this split is left out"]
    for arguments in ({}, {"split": "train"}):
        read = assert_same(file, FROM_ZERO, tmp_path, **arguments)
        assert read.annotations.warnings() == said
    assert splits_of(file) == ("train",)
    (data,) = read_splits([file]).values()
    assert data.annotations.warnings() == said
    check_data_name(DataName(file))


def test_a_test_split_without_images_does_not_either(tmp_path):
    file = unfinished(tmp_path, "test", "images/test")
    (tmp_path / "images" / "test").mkdir()
    (remark,) = remarks(file)
    assert remark == f"test: {tmp_path / 'images' / 'test'} has no images: this split is left out"
    with pytest.raises(InputError, match=r"test: .*test has no images; correct the path"):
        read_data_set(file, split="test")


@pytest.mark.parametrize("made", [False, True], ids=["absent", "empty"])
@pytest.mark.parametrize("split", ["train", "val", "valid", "validation"])
def test_no_other_split_takes_the_place_of_one_to_train_or_validate_on(split, made, tmp_path):
    """The path of one is mistyped, or its disk is not mounted."""
    there = "val" if split == "train" else "train"
    write_yolo(tmp_path, there)
    text = f"{there}: images/{there}\n{split}: images/lost\n{NAMED}"
    file = write(tmp_path / "data.yaml", text)
    if made:
        (tmp_path / "images" / "lost").mkdir()
    assert set(splits_of(file)) == {there, split}
    why = r"lost has no images" if made else r"images/lost: no such folder"
    with pytest.raises(InputError, match=rf"{split}: .*{why}.*; correct the path, or take it out"):
        read_splits([file])
    with pytest.raises(InputError, match=r"it has the splits .*; say which by --split"):
        read_data_set(file)
    data = read_data_set(file, split=there)
    assert len(data.annotations.images) == 3
    (remark,) = data.annotations.warnings()
    assert remark.startswith(f"{split}: ") and remark.endswith(": this split is left out")


def test_a_place_of_another_split_is_not_guessed(tmp_path):
    """Without its first parts the path is the folder above that of the training images."""
    file = unfinished(tmp_path, "test", "../test/images")
    assert splits_of(file) == ("train",)
    with pytest.raises(InputError, match=r"test: \.\./test/images: no such folder"):
        read_data_set(file, split="test")


def test_to_ask_for_it_says_what_is_missing(tmp_path):
    file = unfinished(tmp_path)
    with pytest.raises(InputError, match="val: images/val: no such folder or list of images"):
        read_data_set(file, split="val")
    with pytest.raises(InputError, match="no such folder or list of images"):
        read_splits([file], names=["val"])


def test_where_no_split_is_there_all_are_known(tmp_path):
    """The images may be in a folder that the user names."""
    file = unfinished(tmp_path / "set")
    (tmp_path / "set" / "images").rename(tmp_path / "photos")
    assert splits_of(file) == ("train", "val")
    assert names(file, split="train", images=tmp_path / "photos") == ["train/a.png", "train/b.png"]


def test_a_path_of_another_machine_is_said(tmp_path):
    write_yolo(tmp_path)
    text = f"path: /content/set\ntrain: images/train\n{NAMED}"
    assert remarks(write(tmp_path / "data.yaml", text)) == [
        f"path: /content/set is not there: {tmp_path} is taken"
    ]


@pytest.mark.parametrize("path", ["", ".", "set", "~", "null"])
def test_a_path_that_is_there_is_not(path, tmp_path):
    write_yolo(tmp_path / "set")
    text = f"path: {path}\ntrain: images/train\n{NAMED}"
    assert remarks(write(tmp_path / "set" / "data.yaml", text)) == []


def with_folder(root: Path, split: str, places: tuple[str, str]) -> Path:
    """A set whose data.yaml names train alone, with the images and labels of another split beside it."""
    for name in ("train", split):
        draw_all(root / places[0].format(name))
        write_labels(root / places[1].format(name))
    return write(root / "data.yaml", f"train: {places[0].format('train')}\n{NAMED}")


PLACES = (("images/{}", "labels/{}"), ("{}/images", "{}/labels"), ("{}", "{}"))


@pytest.mark.parametrize("split", ["val", "valid", "test"])
@pytest.mark.parametrize("places", PLACES)
def test_a_split_beside_those_that_are_named_is_said(split, places, tmp_path):
    file = with_folder(tmp_path, split, places)
    assert splits_of(file) == ("train",)
    (remark,) = remarks(file)
    place = places[0].format(split)
    assert remark.startswith(f"data.yaml does not name the split in {place}, which is left out: ")
    usual = "test" if split == "test" else "val"
    assert f"'{usual}: {place}'" in remark
    write(file, f"{usual}: {place}\n{file.read_text()}")
    assert remarks(file, split=usual) == []


def test_folders_that_are_within_a_split_that_is_named_are_no_others(tmp_path):
    file = with_folder(tmp_path, "val", PLACES[0])
    for text in (
        "train: images",
        "train: [images/train, images/val]",
        "train: images/train\ntest: images/val",
    ):
        write(file, f"{text}\n{NAMED}")
        assert remarks(file, split="train") == []
