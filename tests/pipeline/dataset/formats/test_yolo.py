"""YOLO's data sets in the trees and dialects that programs write, read as their COCO form."""

import os
from pathlib import Path

import pytest
from PIL import Image

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.data_set import load_annotations, read_data_set, splits_of

from .builders import (
    FROM_ZERO,
    NAMES,
    SIZES,
    assert_same,
    draw,
    draw_all,
    label,
    write,
    write_labels,
    write_yolo,
)

NAMED = f"names: [{', '.join(NAMES)}]\n"


def names_file(folder: Path, name: str = "classes.txt") -> None:
    write(folder / name, "".join(f"{n}\n" for n in NAMES))


def test_data_yaml_and_its_folder_are_the_coco_form(tmp_path):
    file = write_yolo(tmp_path / "set")
    for path in (file, file.parent):
        read = assert_same(path, FROM_ZERO, tmp_path)
        assert (read.format, read.annotations.warnings()) == ("yolo", [])
    assert splits_of(file) == ("train",)


def flat(root: Path) -> None:
    draw_all(root)
    write_labels(root)
    names_file(root)
    write(root / "notes.txt", "not a label\n")


def bare(root: Path) -> None:
    draw_all(root / "images")
    write_labels(root / "labels")
    names_file(root)


def labelstudio(root: Path) -> None:
    bare(root)
    write(root / "notes.json", '{"categories": [{"id": 0, "name": "cat"}], "info": {}}')


def names_among_labels(root: Path) -> None:
    draw_all(root / "images")
    names_file(write_labels(root / "labels"))


def split_below(root: Path) -> None:
    draw_all(root / "images" / "train")
    write_labels(root / "labels" / "train")
    names_file(root, "obj.names")


def split_above(root: Path) -> None:
    draw_all(root / "train" / "images")
    write_labels(root / "train" / "labels")
    names_file(root)


def split_flat(root: Path) -> None:
    draw_all(root / "train")
    names_file(write_labels(root / "train"), "_darknet.labels")


def labels_among_split_images(root: Path) -> None:
    write_labels(draw_all(root / "images" / "train2017"))
    names_file(root)


def darknet(root: Path) -> None:
    draw_all(root / "obj_train_data")
    write_labels(root / "obj_train_data")
    names_file(root, "obj.names")
    write(root / "train.txt", "".join(f"data/obj_train_data/{name}\n" for name in SIZES))
    write(
        root / "obj.data",
        "classes = 3\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
    )


def roboflow(root: Path) -> None:
    split_above(root)
    (root / "classes.txt").unlink()
    write(root / "data.yaml", f"train: ../train/images\nval: ../valid/images\n\nnc: 3\n{NAMED}")
    write(root / "README.dataset.txt", "# set\n")


def listed(root: Path) -> None:
    bare(root)
    write(root / "train.txt", "".join(f"./images/{name}\r\n" for name in SIZES))
    write(root / "my.yml", f"train: train.txt\nval: train.txt\n{NAMED}")


def relative_to_data_sets(root: Path) -> None:
    """ultralytics: 'path' is the folder that the YAML file lies in, seen from the folder above."""
    split_below(root)
    write(
        root / "set.yaml",
        f"path: {root.name}\ntrain: images/train\nval:\ntest: # optional\n{NAMED}",
    )


def of_another_machine(root: Path) -> None:
    split_below(root)
    write(root / "data.yaml", f"path: /content/set\ntrain: /content/set/images/train\n{NAMED}")


def of_windows(root: Path) -> None:
    split_below(root)
    write(root / "data.yaml", f"train: 'C:\\sets\\one\\images\\train'\n{NAMED}")


def absolute(root: Path) -> None:
    split_below(root)
    write(root / "data.yaml", f"path: {root.absolute()}\ntrain: images/train\n{NAMED}")


def list_of_folders(root: Path) -> None:
    split_below(root)
    write(root / "data.yaml", f"train: [images/train]\n{NAMED}")


def text_keys(root: Path) -> None:
    split_below(root)
    keys = ", ".join(f'"{k}": {name}' for k, name in enumerate(NAMES))
    write(root / "data.yaml", f"train: images/train\nnames: {{{keys}}}\n")


LAYOUTS = (
    *(flat, bare, labelstudio, names_among_labels, split_below, split_above, split_flat),
    *(labels_among_split_images, darknet, roboflow, listed, relative_to_data_sets),
    *(of_another_machine, of_windows, absolute, list_of_folders, text_keys),
)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_every_layout_is_the_coco_form(layout, tmp_path):
    root = tmp_path / "set"
    layout(root)
    splits = splits_of(root)
    read = assert_same(root, FROM_ZERO, tmp_path, split=splits[0] if splits else None)
    assert read.format == "yolo"


@pytest.mark.parametrize("layout", [of_another_machine, of_windows])
def test_a_path_that_was_guessed_is_said(layout, tmp_path):
    layout(tmp_path / "set")
    (remark,) = read_data_set(tmp_path / "set").annotations.warnings()
    assert "is not there: " in remark and remark.endswith("images/train is taken")


def test_a_folder_of_images_takes_the_names_of_the_data_set_above(tmp_path):
    file = write_yolo(tmp_path / "set")
    read = assert_same(file.parent / "images" / "train", FROM_ZERO, tmp_path)
    assert read.annotations.warnings() == [f"the class names are those of {file}"]
    split_above(tmp_path / "other")
    assert_same(tmp_path / "other" / "train", FROM_ZERO, tmp_path)


def test_a_folder_of_labels_finds_its_images_beside_or_where_it_is_told(tmp_path):
    bare(tmp_path / "set")
    assert_same(tmp_path / "set" / "labels", FROM_ZERO, tmp_path)
    (tmp_path / "set" / "images").rename(tmp_path / "photos")
    read = read_data_set(tmp_path / "set" / "labels", tmp_path / "photos")
    assert [i.file_name for i in read.annotations.images] == ["a.png", "b.png"]
    (remark,) = read.annotations.warnings()
    assert "1 image in" in remark and "has no label file" in remark
    read = read_data_set(tmp_path / "set", tmp_path / "photos")
    assert [i.file_name for i in read.annotations.images] == ["a.png", "b.png"]


def test_images_in_a_folder_above_keep_their_folders(tmp_path):
    file = write_yolo(tmp_path / "set")
    read = read_data_set(file, tmp_path / "set")
    assert next(i.file_name for i in read.annotations.images) == "images/train/a.png"
    assert read.images == tmp_path / "set"


def test_splits_are_those_named_and_share_their_classes(tmp_path):
    file = write_yolo(tmp_path / "set")
    draw(tmp_path / "set" / "images" / "valid" / "a.png")
    write(tmp_path / "set" / "labels" / "valid" / "a.txt", "2 0.5 0.5 0.5 0.5\n")
    file.write_text(
        file.read_text().replace("train: images/train", "train: images/train\nval: images/valid")
    )
    assert splits_of(file) == ("train", "val")
    with pytest.raises(InputError, match="it has the splits train, val; say which by --split"):
        read_data_set(file)
    val = read_data_set(file, split="valid").annotations
    assert (val.class_ids, val.class_names) == ((0, 1, 2), NAMES)
    assert val.packed.boxes.tolist() == [[10, 7.5, 30, 22.5]]


def test_names_with_gaps_keep_their_numbers(tmp_path):
    file = write_yolo(tmp_path / "set")
    file.write_text("train: images/train\nnames:\n  0: cat\n  1: dog\n  2: ant\n  90: yak\n")
    annotations = read_data_set(file).annotations
    assert dict(zip(annotations.class_ids, annotations.class_names, strict=True))[90] == "yak"


@pytest.mark.parametrize("name", ["no", "7", "1.5", "null", "on", "été", "a: b"])
def test_names_are_what_is_written(name, tmp_path):
    file = write_yolo(tmp_path / "set")
    shown = f'"{name}"' if ":" in name else name
    file.write_text(f"train: images/train\nnames: [{shown}, dog, ant]\n")
    assert read_data_set(file).annotations.class_names[0] == name


def one(folder: Path, text: str | bytes, yaml: str = "") -> Path:
    """A data set with one image of 40 x 30 px and this label file."""
    draw(folder / "images" / "train" / "a.png")
    write(folder / "labels" / "train" / "a.txt", text)
    return write(folder / "data.yaml", f"train: images/train\n{NAMED}{yaml}")


@pytest.mark.parametrize(
    "text",
    [
        "1 0.5 0.5 0.5 0.2",
        "1 0.5 0.5 0.5 0.2\n\n",
        "\ufeff1 0.5 0.5 0.5 0.2\r\n",
        "\t1\t0.5\t0.5  0.5 0.2   \n",
        "1.0 .5 5e-1 +0.5 0.2",
        "1 0.5 0.5 0.5 0.2\n".encode("utf-16"),
    ],
)
def test_ways_to_write_a_box(text, tmp_path):
    annotations = read_data_set(one(tmp_path, text)).annotations
    assert annotations.packed.boxes.tolist() == [[10, 12, 30, 18]]
    assert annotations.packed.labels.tolist() == [1]
    assert annotations.warnings() == []


def test_polygons_keep_their_outline_and_have_the_box_around_it(tmp_path):
    file = one(tmp_path, "0 0.25 0.5 0.75 0.5 0.5 0.9\n1 0.5 0.5 0.5 0.2\n")
    read = read_data_set(file)
    assert read.annotations.packed.boxes.tolist()[0] == [10, 15, 30, 27]
    assert read.annotations.packed.area.tolist() == [20 * 12 / 2, 20 * 6]
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 0.25 0.5 0.75 0.5 0.5 0.9\n")
    outlines = read_data_set(file, outlines=True).annotations.packed.outlines
    assert outlines.coco(0, (30, 40)) == [[10, 15, 30, 15, 20, 27]]


def test_keypoints_are_left_out_where_the_yaml_announces_them(tmp_path):
    keypoints = " 0.1 0.1 2 0.2 0.2 1"
    file = one(tmp_path, f"1 0.5 0.5 0.5 0.2{keypoints}\n", "kpt_shape: [2, 3]\n")
    annotations = read_data_set(file).annotations
    assert annotations.packed.boxes.tolist() == [[10, 12, 30, 18]]
    assert annotations.warnings() == ["keypoints are left out: only boxes are read"]


def test_what_rounding_leaves_is_kept_and_counted(tmp_path):
    annotations = read_data_set(
        one(tmp_path, "0 0.5 0.5 1.000002 1\n0 0.5 1.005 0.2 0.02")
    ).annotations
    assert len(annotations.packed) == 2
    assert annotations.warnings() == ["2 objects reach beyond 0..1 by up to 0.01: they are kept"]


def test_lines_that_stand_twice_are_kept_and_counted(tmp_path):
    annotations = read_data_set(one(tmp_path, "1 0.5 0.5 0.5 0.2\n" * 3)).annotations
    assert len(annotations.packed) == 3
    assert annotations.warnings() == ["2 lines of label files stand there twice: all are kept"]


def test_boxes_of_no_size_are_dropped_as_in_coco(tmp_path):
    annotations = read_data_set(one(tmp_path, "0 0.5 0.5 0 0.2\n0 0.5 0.5 0.2 -0.001")).annotations
    assert annotations.dropped == {"of zero size": 1, "of negative size": 1}


def test_an_empty_label_file_and_none_are_images_without_objects(tmp_path):
    file = one(tmp_path, "1 0.5 0.5 0.5 0.2")
    draw(tmp_path / "images" / "train" / "b.png")
    draw(tmp_path / "images" / "train" / "c.png")
    write(tmp_path / "labels" / "train" / "c.txt", "\n")
    annotations = read_data_set(file).annotations
    assert [len(annotations.of_image(i.id)) for i in annotations.images] == [1, 0, 0]
    assert annotations.warnings() == []


def test_labels_without_an_image_are_missing_images(tmp_path):
    file = one(tmp_path, "1 0.5 0.5 0.5 0.2")
    write(tmp_path / "labels" / "train" / "lost.txt", "0 0.5 0.5 0.5 0.5\n\n1 0.5 0.5 0.5 0.5\n")
    write(tmp_path / "labels" / "train" / "lost2.txt", "\n")
    names_file(tmp_path / "labels" / "train")
    data = read_data_set(file, whole=False)
    assert data.missing == {"the image of lost.txt": 2}
    assert data.annotations.warnings() == ["1 empty label file has no image: lost2.txt"]
    with pytest.raises(
        InputError, match=r"1 of 2 images are missing, with 2 objects: the image of"
    ):
        read_data_set(file)


def test_other_texts_among_labels_are_no_missing_images(tmp_path):
    file = one(tmp_path, "1 0.5 0.5 0.5 0.2")
    write(tmp_path / "labels" / "train" / "todo.txt", "look at b again\n")
    assert read_data_set(file).annotations.warnings() == [
        "1 text file among the labels is no label file: todo.txt"
    ]


def test_images_that_cannot_be_read_are_left_out_and_counted(tmp_path):
    file = write_yolo(tmp_path)
    (tmp_path / "images" / "train" / "b.png").write_bytes(b"not an image")
    annotations = read_data_set(file).annotations
    assert [i.file_name for i in annotations.images] == ["a.png", "c.png"]
    (remark,) = annotations.warnings()
    assert remark.startswith("1 image cannot be read and is left out: b.png (")


def test_a_test_split_may_have_no_labels(tmp_path):
    file = write_yolo(tmp_path)
    draw(tmp_path / "images" / "test" / "x.png", (10, 10))
    file.write_text(file.read_text() + "test: images/test\n")
    annotations = read_data_set(file, split="test").annotations
    assert annotations.warnings() == ["its only image lacks a label file: no object is known"]


def test_classes_without_names_are_numbered_over_all_splits(tmp_path):
    for split in ("train", "val"):
        draw(tmp_path / "images" / split / "a.png")
    write(tmp_path / "labels" / "train" / "a.txt", "0 0.5 0.5 0.5 0.5\n")
    write(tmp_path / "labels" / "val" / "a.txt", "4 0.5 0.5 0.5 0.5\n")
    for split in ("train", "val"):
        annotations = read_data_set(tmp_path, split=split).annotations
        assert annotations.class_ids == (0, 1, 2, 3, 4)
        assert annotations.class_names[4] == "class 4"
        assert "no file such as classes.txt names the classes" in annotations.warnings()[0]


def test_a_rotated_image_has_the_size_that_people_see(tmp_path):
    file = one(tmp_path, "1 0.5 0.5 0.5 0.5")
    image = Image.new("RGB", (40, 30))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "images" / "train" / "a.png", exif=exif)
    annotations = read_data_set(file).annotations
    assert annotations.images[0].hw == (40, 30)
    assert annotations.packed.boxes.tolist() == [[7.5, 10, 22.5, 30]]


def test_links_are_followed_once(tmp_path):
    file = write_yolo(tmp_path / "set")
    train = tmp_path / "set" / "images" / "train"
    train.rename(tmp_path / "elsewhere")
    train.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to("..")
    assert [i.file_name for i in read_data_set(file).annotations.images] == [
        "a.png",
        "b.png",
        "c.png",
    ]


def test_a_pipe_in_the_place_of_a_label_is_no_label(tmp_path):
    file = write_yolo(tmp_path)
    label_of_c = tmp_path / "labels" / "train" / "c.txt"
    os.mkfifo(label_of_c)
    assert len(load_annotations(file)[0].images) == 3


def test_several_folders_are_named_from_the_one_they_share(tmp_path):
    for part in ("north", "south"):
        draw(tmp_path / part / "images" / "a.png")
        write(tmp_path / part / "labels" / "a.txt", label("a.png"))
    file = write(tmp_path / "data.yaml", f"train:\n- north/images\n- south/images\n{NAMED}")
    read = read_data_set(file)
    names = [i.file_name for i in read.annotations.images]
    assert names == ["north/images/a.png", "south/images/a.png"]
    assert read.images == tmp_path


def test_one_folder_is_not_taken_for_two_splits(tmp_path):
    file = write_yolo(tmp_path)
    file.write_text(f"train: /a/images/train\nval: /b/images/train\n{NAMED}")
    with pytest.raises(
        InputError, match=r"data\.yaml: train and val: .* both may mean .*images/train"
    ):
        read_data_set(file, split="train")
    file.write_text(f"train: /a/images/train\nval: /a/images/train\n{NAMED}")
    assert len(read_data_set(file, split="train").annotations.images) == 3


def moved_list(root: Path, rows: str) -> Path:
    draw_all(root / "images")
    write_labels(root / "labels")
    write(root / "train.txt", rows)
    return write(root / "data.yaml", f"train: train.txt\n{NAMED}")


def test_rows_of_a_list_that_were_looked_for_elsewhere_are_counted(tmp_path):
    rows = "".join(f"/gone/cam1/images/{name}\n" for name in ("a.png", "b.png")) + "images/c.png\n"
    read = assert_same(moved_list(tmp_path / "set", rows), FROM_ZERO, tmp_path)
    (said,) = read.annotations.warnings()
    assert said == (
        "train.txt: 2 images of the list are not there, and were found under another name or folder, e.g. "
        f"/gone/cam1/images/a.png as {tmp_path / 'set' / 'images' / 'a.png'}"
    )


def test_two_rows_of_a_list_that_would_mean_one_file_are_refused(tmp_path):
    file = moved_list(tmp_path, "/gone/cam1/images/a.png\n/gone/cam2/images/a.png\n")
    with pytest.raises(
        InputError, match=r"line 2: '/gone/cam2/.*' and '/gone/cam1/.*' are one file"
    ):
        read_data_set(file)
