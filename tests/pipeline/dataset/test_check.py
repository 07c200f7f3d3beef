"""Images are held against the annotations before anything is computed."""

import logging

import pytest
from PIL import Image

from fdet.cache.errors import InputError
from fdet.cache.layout import ImageEntry
from fdet.pipeline.dataset.check import check_images


@pytest.fixture
def folder(tmp_path):
    for k in range(6):
        Image.new("RGB", (30, 20)).save(tmp_path / f"{k}.png")
    return tmp_path


def listed(count, hw=(20, 30)):
    return [ImageEntry(k, f"{k}.png", hw) for k in range(count)]


def test_images_that_fit_pass_in_silence(folder, caplog):
    check_images(folder, listed(6))
    assert not caplog.records


def test_missing_images_are_counted_and_the_first_few_named(folder):
    said = r"4 of 10 images are missing below .*: 6\.png, 7\.png, 8\.png, \.\.\.; check --images"
    with pytest.raises(InputError, match=said):
        check_images(folder, listed(10))
    with pytest.raises(InputError, match=r"1 of 7 images are missing below .*: 6\.png; check"):
        check_images(folder, listed(7))


@pytest.mark.parametrize("name", ["x" * 300, "0.png/inside", "\ud800.png", "."])
def test_names_that_no_file_can_have_are_missing(name, folder):
    with pytest.raises(InputError, match="1 of 1 images are missing"):
        check_images(folder, [ImageEntry(0, name, (20, 30))])


def test_a_folder_that_is_none_is_named(folder):
    for path in (folder / "absent", folder / "0.png"):
        with pytest.raises(InputError, match="no such folder"):
            check_images(path, listed(1))


def test_other_sizes_are_counted_and_shown(folder):
    images = [*listed(5, (20, 31)), ImageEntry(5, "5.png", (20, 30))]
    with pytest.raises(InputError) as caught:
        check_images(folder, images)
    assert "5 images differ in size from what the annotations say" in str(caught.value)
    assert "0.png (file 30x20, annotations 31x20)" in str(caught.value)
    assert str(caught.value).count(".png") == 3


def test_files_that_cannot_be_read_are_logged_and_left_to_the_extraction(folder, caplog):
    (folder / "2.png").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING, "fdet"):
        check_images(folder, listed(6))
        (folder / "4.png").write_bytes(b"")
        check_images(folder, listed(6))
    one, two = (record.getMessage() for record in caplog.records)
    assert one.startswith("1 of 6 images cannot be read, and is left out: 2.png (")
    assert two.startswith("2 of 6 images cannot be read, and are left out: 2.png (")
    assert ", 4.png (" in two


def test_turned_images_are_counted_by_what_is_done(folder, caplog):
    exif = Image.Exif()
    exif[0x0112] = 6
    for k in (0, 1, 2):
        Image.new("RGB", (30, 20)).save(folder / f"{k}.png", exif=exif)
    images = [ImageEntry(k, f"{k}.png", (30, 20) if k < 2 else (20, 30)) for k in range(6)]
    with caplog.at_level(logging.WARNING, "fdet"):
        check_images(folder, images)
    (record,) = caplog.records
    assert "applied to 2 images; ignored for 1" in record.getMessage()
