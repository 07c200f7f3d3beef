"""What may not be read is refused as such in every format: it is not taken for absent."""

import json

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.check import check_there
from fdet.pipeline.dataset.data_set import read_data_set, splits_of
from fdet.pipeline.dataset.doctor.examine import examine
from fdet.pipeline.dataset.doctor.subject import Split
from fdet.pipeline.dataset.images.files import find_images
from fdet.pipeline.dataset.splits.named_splits import read_splits

from .closed import close
from .formats.builders import (
    FROM_ZERO,
    HEADER,
    NAMES,
    coco,
    csv_rows,
    draw_all,
    label,
    write,
    write_coco,
    write_voc,
)

NAMED = f"names: [{', '.join(NAMES)}]\n"


def roboflow(root):
    for split in ("train", "valid"):
        draw_all(root / split / "images")
        write(root / split / "labels" / "a.txt", label("a.png"))
    paths = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    write(root / "data.yaml", paths + NAMED)
    return root


def bare_yolo(root):
    (roboflow(root) / "data.yaml").unlink()
    write(root / "classes.txt", "\n".join(NAMES))
    return root


def listed_yolo(root):
    for split in ("train", "val"):
        draw_all(root / "images" / split)
        write(root / "labels" / split / "a.txt", label("a.png"))
        write(root / f"{split}.txt", "".join(f"images/{split}/{n}.png\n" for n in "abc"))
    write(root / "data.yaml", f"train: train.txt\nval: val.txt\n{NAMED}")
    return root


def coco_files(root):
    draw_all(root / "images")
    for split in ("train", "val"):
        write(root / "annotations" / f"instances_{split}.json", json.dumps(coco(FROM_ZERO)))
    return root


def coco_folders(root):
    for split in ("train", "valid"):
        draw_all(root / split)
        write(root / split / "_annotations.coco.json", json.dumps(coco(FROM_ZERO)))
    return root


def voc_lists(root):
    write_voc(root)
    for split, name in (("train", "a"), ("val", "b")):
        write(root / "ImageSets" / "Main" / f"{split}.txt", f"{name}\n")
    return root


def tables(root):
    draw_all(root / "images")
    for split in ("train", "val"):
        write(root / f"{split}.csv", HEADER + csv_rows())
    return root


@pytest.mark.parametrize(
    ("build", "path"),
    [
        (roboflow, "train"),
        (roboflow, "train/images"),
        (roboflow, "train/labels"),
        (roboflow, "data.yaml"),
        (bare_yolo, "train"),
        (bare_yolo, "train/images"),
        (bare_yolo, "train/labels"),
        (listed_yolo, "train.txt"),
        (listed_yolo, "images/train"),
        (coco_files, "annotations"),
        (coco_files, "annotations/instances_train.json"),
        (coco_folders, "train"),
        (coco_folders, "train/_annotations.coco.json"),
        (voc_lists, "ImageSets"),
        (voc_lists, "ImageSets/Main"),
        (voc_lists, "ImageSets/Main/train.txt"),
        (voc_lists, "Annotations"),
        (tables, "train.csv"),
    ],
)
def test_a_closed_part_is_refused_by_its_path(build, path, tmp_path, monkeypatch):
    root = build(tmp_path)
    assert len(splits_of(root)) == 2  # It would be read, were it not closed.
    close(root / path, monkeypatch)
    with pytest.raises(InputError, match="Permission denied") as caught:
        read_splits([root])
    assert str(root / path) in str(caught.value)
    with pytest.raises(InputError):
        read_data_set(root)


def test_a_closed_split_stops_no_other_one(tmp_path, monkeypatch):
    root = roboflow(tmp_path)
    close(root / "valid" / "images", monkeypatch)
    assert splits_of(root) == ("train", "val")
    assert len(read_data_set(root, split="train").annotations.images) == 3


def test_a_closed_folder_among_the_images_of_a_split_is_refused(tmp_path, monkeypatch):
    root = roboflow(tmp_path)
    draw_all(root / "train" / "images" / "more")
    close(root / "train" / "images" / "more", monkeypatch)
    with pytest.raises(InputError, match="more: Permission denied"):
        read_data_set(root, split="train")
    assert len(find_images([root / "train"], quiet=True)) == 3


def test_closed_images_are_not_missing(tmp_path, monkeypatch):
    path = write_coco(tmp_path, FROM_ZERO)
    data = read_data_set(path)
    close(tmp_path / "images", monkeypatch)
    with pytest.raises(InputError, match=r"images/a\.png: Permission denied"):
        check_there(tmp_path / "images", data.annotations.images)
    found = {finding.rule: finding for finding in examine([Split("", data)])}
    assert "missing" not in found
    assert found["unreadable"].examples[0] == "a.png: Permission denied"
    with pytest.raises(InputError, match="images: Permission denied"):
        read_data_set(path)
