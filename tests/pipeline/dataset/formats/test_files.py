"""Text files and folders of data sets: encodings, numbers, links, and what is not opened."""

import os
from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.formats.files import (
    files_below,
    has_file,
    head_of,
    number,
    read_text,
    some_files,
)
from fdet.pipeline.dataset.formats.splits import SAME, SPLITS, by_split, split_in, usual_name

from .builders import write

TEXTS = frozenset({".txt"})


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le-bom", "utf-16-be-bom"]
)
def test_texts_in_every_encoding_with_a_mark(encoding, tmp_path):
    text = "1 é 猫\n"
    bom = encoding.endswith("-bom")
    raw = (("\ufeff" if bom else "") + text).encode(encoding.removesuffix("-bom"))
    file = write(tmp_path / "a.txt", raw)
    assert read_text(file) == head_of(file) == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_zero_bytes_tell_an_encoding_without_a_mark(encoding, tmp_path):
    text = "1 é 猫\n"
    file = write(tmp_path / "a.txt", text.encode(encoding))
    assert read_text(file) == head_of(file) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("-1.5", -1.5), ("+.5", 0.5), ("5e-1", 0.5), ("7.", 7), ("1E3", 1000)]
    + [
        (t, None)
        for t in ("", "nan", "inf", "1e999", "1_0", "٣", "1,5", "0x1", "1 2", "-", "e", "--1")
    ],
)
def test_numbers_are_plain_and_finite(text, value):
    assert number(text) == value


def test_what_is_no_file_of_sensible_size_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    for path, why in ((tmp_path / "pipe.txt", "not a regular"), (tmp_path, "not a regular")):
        with pytest.raises(InputError, match=why):
            read_text(path)
        assert head_of(path) == ""
    with pytest.raises(InputError, match="No such file"):
        read_text(tmp_path / "absent")
    with pytest.raises(InputError, match="9 bytes, expected at most 8"):
        read_text(write(tmp_path / "a.txt", "123456789"), 8)


def test_files_below_a_folder_come_once_and_without_hidden_ones(tmp_path):
    for name in ("b.txt", "a/c.TXT", "a/.d.txt", ".git/e.txt", "__MACOSX/f.txt", "g.png"):
        write(tmp_path / name, "")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "z").symlink_to(tmp_path / "a")
    names = [str(p.relative_to(tmp_path)) for p in files_below(tmp_path, TEXTS)]
    assert names == ["b.txt", "a/c.TXT"]
    assert {p.name for p in some_files(tmp_path, TEXTS)} == {"b.txt", "c.TXT"}
    assert has_file(tmp_path, TEXTS) and not has_file(tmp_path, frozenset({".xml"}))
    assert not has_file(tmp_path / "absent", TEXTS)


def test_a_folder_of_too_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fdet.pipeline.dataset.formats.files._MAX_FILES", 2)
    for k in range(3):
        write(tmp_path / f"{k}.txt", "")
    with pytest.raises(InputError, match="more than 2 files"):
        list(files_below(tmp_path, TEXTS))


def test_a_folder_that_is_not_there_is_said():
    for function in (files_below, some_files):
        with pytest.raises(InputError, match="absent: No such file"):
            list(function(Path("absent"), TEXTS))


def test_names_of_splits():
    assert [split_in(name) for name in ("train", "VAL2017", "valid", "test_1", "training")] == [
        "train",
        "val",
        "valid",
        None,
        None,
    ]
    assert by_split(["test", "images", "val2017", "Train"]) == {
        "train": "Train",
        "val": "val2017",
        "test": "test",
    }
    assert by_split(["train2014", "train2017"]) == {
        "train2014": "train2014",
        "train2017": "train2017",
    }


def test_every_name_of_a_split_has_a_usual_one():
    assert {name: usual_name(name) for names in SAME.values() for name in names} == {
        "train": "train",
        "training": "train",
        "val": "val",
        "valid": "val",
        "validation": "val",
        "dev": "val",
        "test": "test",
    }
    assert {usual_name(name) for name in SPLITS} == set(SAME)
    assert usual_name("trainval") == "trainval"
