"""A folder is there whole or not at all."""

import os

import pytest

from fdet.cache.disk.publish import only_writer
from fdet.cache.errors import InputError, StorageError
from fdet.pipeline.dataset.writing.whole_folder import refuse_others, whole_folder


def fill(out, text="a"):
    with whole_folder(out) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text(text)
        (folder / "b.txt").touch()


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


WRITTEN = ["b.txt", "sub", "sub/a.txt"]


def test_it_appears_when_the_block_ends(tmp_path):
    out = tmp_path / "deep" / "out"
    with whole_folder(out) as folder:
        (folder / "a").touch()
        assert not out.exists() and folder.parent == out.parent
    assert names(tmp_path) == ["deep", "deep/out", "deep/out/a"]


def test_an_empty_folder_is_filled_and_a_link_to_one_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    fill(tmp_path / "link")
    assert names(tmp_path / "real") == WRITTEN
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x"), InputError("x")])
def test_nothing_stays_of_a_block_that_raises(error, tmp_path):
    def stopped():
        with whole_folder(tmp_path / "out") as folder:
            (folder / "a").touch()
            raise error

    with pytest.raises(type(error)):
        stopped()
    assert names(tmp_path) == []


def test_what_a_killed_process_left_is_no_part_of_it(tmp_path):
    left = tmp_path / ".out.scratch"
    (left / "sub").mkdir(parents=True)
    (left / "old.txt").touch()
    (left / ".writer.scratch").touch()
    fill(tmp_path / "out")
    assert names(tmp_path / "out") == WRITTEN
    assert names(tmp_path) == ["out", *(f"out/{name}" for name in WRITTEN)]


def test_the_same_content_stays_and_another_is_refused(tmp_path):
    out = tmp_path / "out"
    fill(out)
    inode = (out / "b.txt").stat().st_ino
    fill(out)
    assert (out / "b.txt").stat().st_ino == inode
    with pytest.raises(InputError, match=r"holds something else already \(sub/a.txt differs\)"):
        fill(out, "other")
    (out / "b.txt").unlink()
    with pytest.raises(InputError, match=r"b.txt differs"):
        fill(out)
    fill(tmp_path / "more")
    (tmp_path / "more" / "c.txt").touch()
    with pytest.raises(InputError, match=r"it holds other files \(c.txt\)"):
        fill(tmp_path / "more")
    assert names(tmp_path / "more") == ["b.txt", "c.txt", "sub", "sub/a.txt"]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("out", ["file", "/"])
def test_what_can_be_no_folder_is_refused(out, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="it is not a folder that can be made"):
        fill(tmp_path / out)


def test_a_second_writer_is_refused(tmp_path):
    holder = only_writer(tmp_path / ".out.scratch", alone=True)
    with holder, pytest.raises(StorageError, match="another fdet process"):
        fill(tmp_path / "out")
    fill(tmp_path / "out")


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        fill(tmp_path / "out")
    monkeypatch.undo()
    assert names(tmp_path) == []


def test_only_other_names_are_refused(tmp_path):
    refuse_others(tmp_path / "absent", set())
    fill(tmp_path)
    refuse_others(tmp_path, {"b.txt", "sub/a.txt", "c"})
    with pytest.raises(InputError, match=r"sub/a.txt"):
        refuse_others(tmp_path, {"b.txt"})
