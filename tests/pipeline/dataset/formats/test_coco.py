"""COCO and LVIS: the files of splits in the folders that people have."""

import json
import os

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.data_set import read_data_set, splits_of
from fdet.pipeline.dataset.formats.coco import COCO

from .builders import FROM_ZERO, assert_same, coco, draw_all, write, write_coco

PLACES = (
    "annotations/instances_{}.json",
    "annotations/instances_{}2017.json",
    "annotations/{}.json",
    "{}.json",
    "{}2014.json",
    "{}/_annotations.coco.json",
    "{}/annotations.json",
    "{}/labels.json",
    "lvis_v1_{}.json",
    "annotations/lvis_v1_{}.json",
)
TEXT = json.dumps(coco(FROM_ZERO))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_splits_are_found_where_folders_keep_them(place, val, tmp_path):
    for split in ("train", val, "test"):
        write(tmp_path / place.format(split), TEXT)
    assert splits_of(tmp_path) == ("train", val, "test")
    draw_all(tmp_path / "images")
    for split in (val, "val"):
        read = read_data_set(tmp_path, tmp_path / "images", format="coco", split=split)
        assert read.source == str(tmp_path / place.format(val))


def test_a_file_keeps_its_bytes_and_a_folder_with_one_file_is_that_file(tmp_path):
    file = write_coco(tmp_path / "set", FROM_ZERO)
    for path in (file, file.parent):
        read = assert_same(path, FROM_ZERO, tmp_path)
        assert (read.format, read.raw, splits_of(path)) == ("coco", file.read_bytes(), ())


def test_other_json_files_of_a_folder_are_no_annotations(tmp_path):
    file = write_coco(tmp_path / "set", FROM_ZERO)
    write(file.parent / "notes.json", '{"categories": [], "info": {}}')
    write(file.parent / "settings.json", '{"lr": 1}')
    write(file.parent / "broken.json", b"\xff\xfe\x00")
    os.mkfifo(file.parent / "pipe.json")
    assert_same(file.parent, FROM_ZERO, tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings(encoding, tmp_path):
    file = write_coco(tmp_path / "set", FROM_ZERO)
    file.write_bytes(file.read_text().encode(encoding))
    for path in (file, file.parent):
        assert_same(path, FROM_ZERO, tmp_path)


def test_classes_that_come_first_may_fill_the_beginning(tmp_path):
    data = coco(FROM_ZERO)
    data["categories"][0]["definition"] = "x" * 2**17
    text = json.dumps({"categories": data["categories"], **data})
    assert text.index("images") > 2**16
    assert COCO.recognises(write(tmp_path / "a.json", text).parent)


def test_several_files_without_splits_are_refused_by_name(tmp_path):
    for name in ("one.json", "two.json"):
        write(tmp_path / name, TEXT)
    with pytest.raises(
        InputError, match=r"expected one COCO JSON file, found one\.json, two\.json; name"
    ):
        read_data_set(tmp_path)


def test_lvis_is_insisted_on(tmp_path):
    file = write_coco(tmp_path, FROM_ZERO)
    with pytest.raises(
        InputError, match=r"--format lvis: expected neg_category_ids and .* in images\[0\]"
    ):
        read_data_set(file, format="lvis")
    data = json.loads(file.read_text())
    for image in data["images"]:
        image |= {"neg_category_ids": [0], "not_exhaustive_category_ids": []}
    file.write_text(json.dumps(data))
    read = read_data_set(file, format="lvis")
    assert read.format == "lvis" and read.annotations.coverage is not None


@pytest.mark.parametrize("folder", ["data", "Images", "JPEGImages", "imgs"])
def test_images_in_folders_that_exporters_make_need_no_option(folder, tmp_path):
    draw_all(tmp_path / "set" / folder)
    write(tmp_path / "set" / "labels.json", TEXT)  # as FiftyOne writes it beside data/
    assert assert_same(tmp_path / "set", FROM_ZERO, tmp_path).images == tmp_path / "set" / folder
