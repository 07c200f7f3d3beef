import errno
import fcntl
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from fdet.cache.errors import StorageError
from fdet.cache.publish import (
    make_folder,
    only_writer,
    publish_bytes,
    published,
    remove_files,
    remove_scratch,
)

DYING = """
import os, sys
from pathlib import Path
from fdet.cache.publish import published
with published(Path(sys.argv[1])) as file:
    file.write(b"half of it")
    file.flush()
    os.kill(os.getpid(), 9)
"""
HOLDING = """
import sys
from pathlib import Path
from fdet.cache.publish import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "deep" / "file"
    with published(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert names(path.parent) == ["file"]


def publish_half(path, error: type[BaseException], replace: bool = False) -> None:
    with published(path, replace=replace) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_a_block_that_raises_leaves_nothing(tmp_path, error):
    with pytest.raises(error):
        publish_half(tmp_path / "file", error)
    assert names(tmp_path) == []


@pytest.mark.parametrize("replace", [False, True])
def test_a_block_that_raises_keeps_what_stood_there(tmp_path, replace):
    publish_bytes(tmp_path / "file", b"old")
    with pytest.raises(RuntimeError):
        publish_half(tmp_path / "file", RuntimeError, replace)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_killed_process_leaves_only_a_scratch_file_that_its_owner_removes(tmp_path):
    path = tmp_path / "file"
    publish_bytes(tmp_path / "file2", b"a neighbour")
    killed = subprocess.run([sys.executable, "-c", DYING, path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    assert len(names(tmp_path)) == 2
    remove_scratch(path)
    assert names(tmp_path) == ["file2"]


def test_the_same_bytes_are_kept_as_they_are(tmp_path):
    path = tmp_path / "file"
    publish_bytes(path, b"same")
    before = path.stat()
    publish_bytes(path, b"same")
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert names(tmp_path) == ["file"]


def test_other_bytes_are_set_aside_and_never_lost(tmp_path):
    for content in (b"one", b"two", b"three"):
        publish_bytes(tmp_path / "file", content)
    found = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    assert found == {".file.aside-1": b"one", ".file.aside-2": b"two", "file": b"three"}


def test_replace_leaves_nothing_aside(tmp_path):
    publish_bytes(tmp_path / "file", b"one")
    publish_bytes(tmp_path / "file", b"two", replace=True)
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"two"


def test_the_bytes_are_durable_before_the_name_and_the_name_before_the_return(
    tmp_path, monkeypatch
):
    steps = []

    def recorded(name):
        real = getattr(os, name)
        return lambda *arguments: (steps.append(name), real(*arguments))[1]

    for name in ("fsync", "link"):
        monkeypatch.setattr(os, name, recorded(name))
    publish_bytes(tmp_path / "file", b"x")
    assert steps == ["fsync", "link", "fsync"]


def test_a_folder_that_is_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"cannot write .*below.*run the same command again"):
        publish_bytes(tmp_path / "file" / "below", b"x")
    with pytest.raises(StorageError, match="cannot write"):
        publish_bytes(tmp_path / "file" / "deep" / "below", b"x")


@pytest.mark.parametrize("step", ["fsync", "link", "replace"])
def test_a_full_disk_is_a_storage_error_and_leaves_nothing(tmp_path, monkeypatch, step):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(StorageError, match="No space left on device"):
        publish_bytes(tmp_path / "file", b"x", replace=step == "replace")
    assert names(tmp_path) == []


def test_the_cause_is_told_even_where_the_scratch_file_cannot_be_removed(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(StorageError, match="Read-only file system"):
        publish_bytes(tmp_path / "file", b"x")


def test_removing_spares_absent_files_and_folders(tmp_path):
    publish_bytes(tmp_path / "file", b"x")
    remove_files([tmp_path / "file", tmp_path / "absent", tmp_path / "no folder" / "file"])
    assert names(tmp_path) == []


def test_a_folder_is_made_with_its_parents_and_may_exist(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


@contextmanager
def held_elsewhere(folder):
    """Another process holds the folder while the block runs."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        try:
            yield other
        finally:
            other.kill()


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    folder = tmp_path / "new"
    with held_elsewhere(folder) as other:
        with (
            pytest.raises(StorageError, match="another fdet process is writing"),
            only_writer(folder),
        ):
            pytest.fail("two writers at once")
        other.kill()
        other.wait()
        with only_writer(folder):
            pass


def test_a_second_writer_in_the_same_process_is_refused_too(tmp_path):
    with only_writer(tmp_path), pytest.raises(StorageError), only_writer(tmp_path):
        pytest.fail("two writers at once")
    with only_writer(tmp_path):
        pass


def test_without_locks_writing_goes_on(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with only_writer(tmp_path):
        publish_bytes(tmp_path / "file", b"x")


def test_an_error_in_the_held_block_comes_out_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError), only_writer(tmp_path):
        raise FileNotFoundError


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write"), only_writer(tmp_path / "file" / "a"):
        pytest.fail("held what does not exist")
