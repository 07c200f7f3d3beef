"""All readable images of a folder and nothing else; what is skipped is said in one line."""

import json
import os
import shutil

import pytest
from PIL import Image

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.images.decoding import FORMATS, read_header
from fdet.pipeline.dataset.images.files import SUFFIXES, find_images

PICTURE = Image.new("RGB", (3, 2), (200, 100, 50))


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        PICTURE.save(folder / name, "JPEG")


def names_in(*paths):
    return [name for _, name in find_images(paths)]


def test_every_suffix_belongs_to_a_format_that_is_read():
    Image.init()
    known = Image.registered_extensions()
    assert {known.get(suffix, "PPM") for suffix in SUFFIXES} <= set(FORMATS)
    # And all that Pillow has for these formats are there, but for moving pictures.
    theirs = {suffix for suffix, kind in known.items() if kind in FORMATS}
    assert theirs - SUFFIXES <= {".apng"}


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_images_of_every_kind_are_found_in_both_cases(suffix, tmp_path, caplog):
    put(tmp_path, f"a{suffix}", f"sub/B{suffix.upper()}")
    assert names_in(tmp_path) == [f"a{suffix}", f"sub/B{suffix.upper()}"]
    assert caplog.messages == []


@pytest.mark.parametrize(
    "suffix", [".dib", ".jfif", ".jpe", ".jp2", ".j2k", ".pbm", ".pnm", ".mpo"]
)
def test_what_pillow_writes_by_that_suffix_is_read(suffix, tmp_path):
    image = PICTURE.convert("1") if suffix == ".pbm" else PICTURE
    image.save(tmp_path / f"a{suffix}")
    assert read_header(tmp_path / f"a{suffix}").stored_hw == (2, 3)


HIDDEN = (
    *(".DS_Store", "._a.jpg", ".hidden.png", "Thumbs.db", "desktop.ini"),
    *(".ipynb_checkpoints/a-checkpoint.jpg", "__MACOSX/a.jpg", "sub/.git/a.jpg", "@eaDir/a.jpg"),
)


def test_hidden_files_and_folders_are_left_out(tmp_path, caplog):
    put(tmp_path, "a.jpg")
    for name in HIDDEN:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "a.jpg", tmp_path / name)
    assert names_in(tmp_path) == ["a.jpg"]
    assert caplog.messages == ["skipped: 5 hidden files, 4 hidden folders"]


def test_a_folder_that_is_given_may_be_hidden_itself(tmp_path):
    put(tmp_path, ".cache/data/a.jpg")
    assert names_in(tmp_path / ".cache") == ["data/a.jpg"]


def test_one_line_says_what_was_skipped_by_kind_and_what_to_do(tmp_path, caplog):
    put(tmp_path, "a.jpg", "b.txt", "c.TXT", "d.heic", "e.mp4", "._f.jpg")
    (tmp_path / "README").write_text("no image")
    assert names_in(tmp_path) == ["a.jpg"]
    assert caplog.messages == [
        "skipped: 2 .txt, 1 .heic (convert it to JPEG), 1 .mp4 (extract its frames), 1 file without a "
        "suffix, 1 hidden file"
    ]


def test_many_kinds_are_cut_and_counted(tmp_path, caplog):
    put(tmp_path, "a.jpg", *(f"a.x{k}y" for k in range(20)))
    assert names_in(tmp_path) == ["a.jpg"]
    (message,) = caplog.messages
    assert message.endswith(", 12 others")


def test_files_without_a_suffix_are_looked_at(tmp_path, caplog):
    put(tmp_path, "image", "frame.0001", "trailing.")
    (tmp_path / "notes").write_text("no image")
    (tmp_path / "LICENSE").write_text("no image")
    assert names_in(tmp_path) == ["frame.0001", "image", "trailing."]
    assert caplog.messages == ["skipped: 2 files without a suffix"]


def test_a_file_that_is_named_is_always_tried(tmp_path, caplog):
    put(tmp_path, "._a.jpg", "b.txt")
    paths = [tmp_path / "._a.jpg", tmp_path / "b.txt"]
    assert find_images(paths) == [(path, path.name) for path in paths]
    assert caplog.messages == []


def test_links_are_followed_once_and_without_end(tmp_path, caplog):
    data, other = tmp_path / "data", tmp_path / "other"
    put(data, "z/a.jpg", "b.jpg")
    put(other, "c.jpg", "deep/d.jpg")
    (data / "file.jpg").symlink_to(other / "c.jpg")
    (data / "lost.jpg").symlink_to(other / "missing.jpg")
    (data / "outside").symlink_to(other)
    (data / "z" / "up").symlink_to(data)
    (data / "a-link-to-z").symlink_to(data / "z")
    (other / "back").symlink_to(data)
    (other / "itself").symlink_to(other / "itself")
    expected = ["b.jpg", "file.jpg", "outside/c.jpg", "outside/deep/d.jpg", "z/a.jpg"]
    assert names_in(data) == expected
    assert caplog.messages == ["skipped: 2 broken links"]


def test_folders_and_pipes_with_the_name_of_an_image_are_none(tmp_path, caplog):
    put(tmp_path, "dir.jpg/a.jpg")
    os.mkfifo(tmp_path / "pipe.png")
    assert names_in(tmp_path) == ["dir.jpg/a.jpg"]
    assert caplog.messages == ["skipped: 1 pipe or device"]


def test_every_file_is_named_once(tmp_path):
    put(tmp_path, "a.jpg")
    assert names_in(tmp_path, tmp_path / "a.jpg", tmp_path) == ["a.jpg"]


def test_subfolders_can_be_left_out_and_are_counted(tmp_path, caplog):
    put(tmp_path, "a.jpg", "b/c.jpg", "b/d/e.jpg", ".hidden/f.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "b")
    found = find_images([tmp_path, tmp_path / "b"], recursive=False)
    assert [name for _, name in found] == ["a.jpg", "c.jpg"]
    assert caplog.messages == ["skipped: 3 subfolders (see --recursive), 1 hidden folder"]


def test_quiet_says_nothing(tmp_path, caplog):
    put(tmp_path, "a.jpg", "b.txt")
    find_images([tmp_path], quiet=True)
    assert caplog.messages == []


def test_no_images_are_refused_with_what_there_was(tmp_path):
    put(tmp_path, "a.heic", ".b.jpg")
    said = r"no images in .* \(skipped: .*1 .heic \(convert it to JPEG\).*; known: \.bmp, "
    with pytest.raises(InputError, match=said):
        find_images([tmp_path])
    with pytest.raises(InputError, match="no such file or folder"):
        find_images([tmp_path / "missing"])


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    names = ("a/x/1.png", "b/x/1.png", "b/x/2.png", "c/3.png")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    found = find_images([tmp_path / "a" / "x", tmp_path / "b" / "x", tmp_path / "c"])
    assert [shown for _, shown in found] == ["a/x/1.png", "b/x/1.png", "2.png", "3.png"]
    assert [path for path, _ in found] == [tmp_path / name for name in names]


SEALED = {"format": 1, "sha256": "0" * 64}
# What fdet writes into folders that hold pictures too, and what these are called.
OUTPUTS = {
    "fdet.json": ({**SEALED, "key": {}, "layout": {}, "store": "zarr"}, "page/0.png"),
    "run.json": ({"format": 7, "key": {}, "config": {}, "class_names": []}, "curve.png"),
    "fit.json": ({**SEALED, "options": {}, "chosen": None, "done": []}, "found/pictures/a.jpg"),
    "compare.json": ({"runs_planned": 2, "sources": {}, "findings": []}, "compare.png"),
    "ablation.json": ({"format": 1, "trials": []}, "logs/a.png"),
    "detections.json": ([{"image_id": 1, "category_id": 1, "file_name": "a"}], "pictures/a.png"),
    "prediction.json": ({**SEALED, "run": "", "images": {}, "options": {}}, "crops/dog/a_1.jpg"),
}


def put_output(folder, name, content, picture):
    put(folder, picture)
    (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize("name", OUTPUTS)
def test_pictures_that_fdet_made_are_no_images_of_the_data(name, tmp_path, caplog):
    put(tmp_path, "a.jpg", "b/c.jpg")
    content, picture = OUTPUTS[name]
    put_output(tmp_path / "out", name, content, picture)
    put_output(tmp_path / "b" / "deep" / "out", name, content, picture)
    assert names_in(tmp_path) == ["a.jpg", "b/c.jpg"]
    assert caplog.messages == ["skipped: 2 folders that fdet wrote"]
    assert names_in(tmp_path / "out") == [picture], "a folder that is named is taken"


def test_nothing_detected_is_a_result_too(tmp_path):
    put(tmp_path, "a.jpg")
    put_output(tmp_path / "out", "detections.json", [], "pictures/a.png")
    assert names_in(tmp_path) == ["a.jpg"]


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", '{"format": 1, "trips": []}', "no JSON", '[{"id": 1}]', "\xff", "[" * 99999],
)
def test_a_file_that_is_only_called_so_hides_no_images(name, text, tmp_path):
    put(tmp_path, "a.jpg", "b/c.jpg")
    (tmp_path / "b" / name).write_bytes(text.encode("latin-1"))
    assert names_in(tmp_path) == ["a.jpg", "b/c.jpg"]


def test_detections_beside_images_of_their_own_hide_none(tmp_path):
    put(tmp_path, "b/c.jpg")
    (tmp_path / "b" / "detections.json").write_text('[{"image_id": 1}]')
    assert names_in(tmp_path) == ["b/c.jpg"]
