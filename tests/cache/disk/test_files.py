import errno
import os
from pathlib import Path

import pytest

from fdet.cache.disk.files import (
    FileEntry,
    files_from_json,
    files_to_json,
    is_below,
    is_there,
    open_below,
    read_below,
)
from fdet.cache.errors import CorruptCache

from ..handmade import ends_within


@pytest.fixture
def root(tmp_path):
    """A folder with a file in it, and one two folders down."""
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    for name in ("file", "a/b/file"):
        (tmp_path / "root" / name).write_bytes(name.encode())
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"secret")
    return tmp_path / "root"


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("name", ["file", "a/b/file"])
def test_a_file_below_is_read_and_closed(root, name):
    before = descriptors()
    assert read_below(root, name, 100) == name.encode()
    assert descriptors() == before


def test_an_open_file_is_the_callers(root):
    descriptor = open_below(root, "a/b/file")
    assert os.pread(descriptor, 100, 2) == b"b/file"
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


OUTSIDE = ["../outside/file", "a/../../outside/file", "/etc/passwd", "..", "", "/", "a/.."]
AMBIGUOUS = [".", "./file", "a//b/file", "a/./b/file", "a/b/", "a/b/../../file"]


@pytest.mark.parametrize("name", [*OUTSIDE, *AMBIGUOUS])
def test_no_name_leads_outside_and_each_file_has_one_name(root, name):
    assert not is_below(name)
    with pytest.raises(CorruptCache, match="leaves the folder"):
        open_below(root, name)
    with pytest.raises(ValueError, match="leaves the folder"):
        files_from_json({name: {"bytes": 1, "sha256": "ab"}})


@pytest.mark.parametrize("target", ["../outside", "a"])
@pytest.mark.parametrize("inside", ["file", "b/file"])
def test_no_link_to_a_folder_is_followed(root, target, inside):
    (root / "link").symlink_to(target)
    before = descriptors()
    with pytest.raises(CorruptCache, match=f"link/{inside}: Not a directory"):
        open_below(root, f"link/{inside}")
    assert descriptors() == before


@pytest.mark.parametrize("target", ["../../outside/file", "../file", "b/file", "nowhere", "link"])
def test_no_link_to_a_file_is_followed(root, target):
    (root / "a" / "link").symlink_to(target)
    before = descriptors()
    with pytest.raises(CorruptCache, match="a/link: Too many levels of symbolic links"):
        open_below(root, "a/link")
    assert descriptors() == before


def test_the_root_itself_may_be_a_link(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert read_below(tmp_path / "link", "a/b/file", 100) == b"a/b/file"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("absent", "No such file"),
        ("absent/file", "No such file"),
        ("file/below", "Not a directory"),
        ("a", "expected a regular file"),
        ("a\0b", "null byte"),
        ("a" * 300, "name too long"),
    ],
)
def test_what_cannot_be_opened_is_corrupt_and_leaves_nothing_open(root, name, why):
    before = descriptors()
    with pytest.raises(CorruptCache, match=why):
        open_below(root, name)
    assert descriptors() == before


def test_no_folder_at_all_is_corrupt(tmp_path):
    with pytest.raises(CorruptCache, match="No such file"):
        open_below(tmp_path / "absent", "file")


def test_a_pipe_is_refused_without_waiting_for_its_writer(root):
    os.mkfifo(root / "pipe")

    def refused() -> None:
        with pytest.raises(CorruptCache, match="expected a regular file"):
            open_below(root, "pipe")

    ends_within(20, refused)


@pytest.mark.parametrize("read", [open_below, lambda root, name: read_below(root, name, 100)])
def test_a_disk_that_does_not_say_what_a_file_is_leaves_nothing_open(root, read, monkeypatch):
    before = descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", broken)
        with pytest.raises(CorruptCache, match="file: Input/output error"):
            read(root, "file")
    assert descriptors() == before


def test_what_is_there_is_known_or_refused(root, monkeypatch):
    assert is_there(root / "file") and is_there(root / "a")
    assert not is_there(root / "absent") and not is_there(root / "file" / "below")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", broken)
        with pytest.raises(CorruptCache, match="file: Input/output error"):
            is_there(root / "file")


def broken(*_):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("limit", [0, 3])
def test_a_file_larger_than_expected_is_not_read(root, limit):
    with pytest.raises(CorruptCache, match=f"file: 4 bytes, expected at most {limit}"):
        read_below(root, "file", limit)
    assert read_below(root, "file", 4) == b"file"


def test_a_huge_sparse_file_is_refused_before_it_takes_memory(root):
    with (root / "file").open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(CorruptCache, match="expected at most"):
        read_below(root, "file", 2**20)


def test_an_entry_is_length_and_digest():
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert FileEntry.of(b"") == FileEntry(0, empty)
    assert FileEntry.of(b"a") != FileEntry.of(b"b")


def test_entries_survive_json():
    files = {"a/b": FileEntry.of(b"1"), "c": FileEntry.of(b"22")}
    assert files_from_json(files_to_json(files)) == files


@pytest.mark.parametrize(
    "junk", [None, 3, ["a"], {"a": 3}, {"a": {"bytes": 3}}, {"a": {"bytes": "x", "sha256": ""}}]
)
def test_another_table_is_refused(junk):
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        files_from_json(junk)
