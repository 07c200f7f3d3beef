import ctypes
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fdet.cache.disk import publish as publish_file
from fdet.cache.disk.publish import (
    SCRATCH,
    leftovers,
    make_folder,
    only_writer,
    publish_bytes,
    published,
    remove_files,
    remove_leftovers,
    sync_folders,
)
from fdet.cache.errors import StorageError

from ..handmade import ends_within

DYING = """
import os, sys
from pathlib import Path
from fdet.cache.disk.publish import published
with published(Path(sys.argv[1]), reserve=2**20) as file:
    file.write(b"half of it")
    file.flush()
    os.kill(os.getpid(), 9)
"""
HOLDING = """
import sys
from pathlib import Path
from fdet.cache.disk.publish import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
WRITING = """
import sys
from pathlib import Path
from fdet.cache.disk.publish import published
with published(Path(sys.argv[1])) as file:
    print("held", flush=True)
    sys.stdin.read()
    file.write(b"theirs")
"""
PUBLISHING = """
import sys
from pathlib import Path
from fdet.cache.disk.publish import publish_bytes
print("ready", flush=True)
sys.stdin.read()
for number in range(200):
    publish_bytes(Path(sys.argv[1]) / str(number), b"the same" * number)
"""


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "deep" / "file"
    with published(path) as file:
        file.write(b"whole")
        assert not path.exists()
        assert names(path.parent) == [f".file{SCRATCH}"]
    assert path.read_bytes() == b"whole"
    assert names(path.parent) == ["file"]


def publish_half(path, error: type[BaseException], **options) -> None:
    with published(path, **options) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("reserve", [0, 2**20])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_a_block_that_raises_leaves_nothing(tmp_path, error, reserve):
    with pytest.raises(error):
        publish_half(tmp_path / "file", error, reserve=reserve)
    assert names(tmp_path) == []


@pytest.mark.parametrize("existing", ["aside", "keep", "replace"])
def test_a_block_that_raises_keeps_what_stood_there(tmp_path, existing):
    publish_bytes(tmp_path / "file", b"old")
    with pytest.raises(RuntimeError):
        publish_half(tmp_path / "file", RuntimeError, existing=existing)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def killed_while_publishing(path) -> None:
    killed = subprocess.run([sys.executable, "-c", DYING, path], check=False)
    assert killed.returncode == -signal.SIGKILL


def test_what_a_killed_process_left_is_thrown_away_by_the_next_writer(tmp_path):
    path = tmp_path / "file"
    killed_while_publishing(path)
    assert names(tmp_path) == [f".file{SCRATCH}"]
    publish_bytes(path, b"whole")
    assert names(tmp_path) == ["file"]
    assert path.read_bytes() == b"whole"


def test_what_killed_processes_left_is_found_and_removed(tmp_path):
    (tmp_path / "sub").mkdir()
    publish_bytes(tmp_path / "file", b"a neighbour")
    killed_while_publishing(tmp_path / "sub" / "file")
    scratch = tmp_path / "sub" / f".file{SCRATCH}"
    assert leftovers(tmp_path) == [scratch]
    assert remove_leftovers(tmp_path) == [(scratch, 2**20)]
    assert leftovers(tmp_path) == [] and names(tmp_path / "sub") == []
    assert names(tmp_path) == ["file", "sub"]


def test_what_a_living_process_writes_is_no_leftover(tmp_path):
    with started(WRITING, tmp_path / "file") as other:
        assert leftovers(tmp_path) == [tmp_path / f".file{SCRATCH}"]
        assert remove_leftovers(tmp_path, aside=True) == []
        other.stdin.close()
        assert other.wait(60) == 0
    assert (tmp_path / "file").read_bytes() == b"theirs"


def test_files_set_aside_are_leftovers_only_where_that_is_asked_for(tmp_path):
    for content in (b"one", b"two!"):
        publish_bytes(tmp_path / "file", content)
    assert leftovers(tmp_path) == remove_leftovers(tmp_path) == []
    aside = tmp_path / ".file.aside-1"
    assert leftovers(tmp_path, aside=True) == [aside]
    assert remove_leftovers(tmp_path, aside=True) == [(aside, 3)]
    assert names(tmp_path) == ["file"]


def test_leftovers_that_another_process_removes_meanwhile_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(publish_file, "leftovers", lambda root, aside: [root / f".file{SCRATCH}"])
    assert remove_leftovers(tmp_path) == []


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_no_file_with_the_name_of_a_leftover_is_refused_without_hanging(tmp_path, kind):
    scratch = tmp_path / f".file{SCRATCH}"
    if kind == "folder":
        scratch.mkdir()
    elif kind == "link":
        (tmp_path / "target").write_bytes(b"mine")
        scratch.symlink_to("target")
    else:
        os.mkfifo(scratch)

    def refused_or_removed() -> None:
        with suppress(StorageError):
            publish_bytes(tmp_path / "file", b"x")
        with suppress(StorageError):
            remove_leftovers(tmp_path)

    ends_within(20, refused_or_removed)
    assert kind != "link" or (tmp_path / "target").read_bytes() == b"mine"


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


@pytest.mark.parametrize(("existing", "stays"), [("keep", b"one"), ("replace", b"two")])
def test_keep_and_replace_leave_nothing_aside(tmp_path, existing, stays):
    publish_bytes(tmp_path / "file", b"one", existing=existing)
    publish_bytes(tmp_path / "file", b"two", existing=existing)
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == stays


@pytest.mark.parametrize(("existing", "naming"), [("aside", "link"), ("replace", "replace")])
def test_the_bytes_are_durable_before_the_name_and_the_name_before_the_return(
    tmp_path, monkeypatch, existing, naming
):
    steps = []

    def recorded(name):
        real = getattr(os, name)
        return lambda *arguments: (steps.append(name), real(*arguments))[1]

    for name in ("fsync", "link", "replace"):
        monkeypatch.setattr(os, name, recorded(name))
    publish_bytes(tmp_path / "file", b"x", existing=existing)
    assert steps == ["fsync", naming, "fsync"]


def test_every_folder_below_is_synced(tmp_path, monkeypatch):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "c")
    synced, real = [], os.fsync

    def recorded(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    sync_folders(tmp_path)
    assert set(synced) == {tmp_path / name for name in ("", "a", "a/b", "c")}


def test_a_folder_that_is_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"cannot write .*below.*run the same command again"):
        publish_bytes(tmp_path / "file" / "below", b"x")
    with pytest.raises(StorageError, match="cannot write"):
        publish_bytes(tmp_path / "file" / "deep" / "below", b"x")


@pytest.mark.parametrize("step", ["fsync", "link", "replace"])
def test_a_refusal_of_the_disk_is_a_storage_error_and_leaves_nothing(tmp_path, monkeypatch, step):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(StorageError, match="No space left on device"):
        publish_bytes(tmp_path / "file", b"x", existing="replace" if step == "replace" else "aside")
    assert names(tmp_path) == []


def test_a_failed_fsync_is_not_tried_again_on_the_same_file(tmp_path, monkeypatch):
    tried = []

    def refuse(descriptor):
        tried.append(os.fstat(descriptor).st_ino)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    for _ in range(2):
        with pytest.raises(StorageError, match="Input/output error"):
            publish_bytes(tmp_path / "file", b"x")
        assert names(tmp_path) == []
    assert len(tried) == 2


def test_the_cause_is_told_even_where_the_scratch_file_cannot_be_removed(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(StorageError, match="Read-only file system"):
        publish_bytes(tmp_path / "file", b"x")


@pytest.mark.parametrize("size", [0, 1, 5000, 2**20])
def test_what_was_reserved_and_not_written_is_given_back(tmp_path, size):
    with published(tmp_path / "file", reserve=2**20) as file:
        assert os.fstat(file.fileno()).st_blocks * 512 >= 2**20
        file.write(b"x" * size)
    assert (tmp_path / "file").read_bytes() == b"x" * size
    assert (tmp_path / "file").stat().st_blocks * 512 <= size + 2**16


def free_bytes(folder) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def test_a_disk_without_the_room_is_told_before_anything_is_written(small_disk):
    before = free_bytes(small_disk)
    with (
        pytest.raises(StorageError, match=r"No space left on device \(a shard needs 1\.0 MB\)"),
        published(small_disk / "file", reserve=10**6),
    ):
        pytest.fail("the block ran")
    assert names(small_disk) == []
    assert free_bytes(small_disk) == before


def test_room_is_reserved_against_other_writers(small_disk):
    with published(small_disk / "file", reserve=200_000) as file:
        with pytest.raises(StorageError, match="No space left on device"):
            publish_bytes(small_disk / "other", bytes(100_000))
        file.write(bytes(200_000))
    assert names(small_disk) == ["file"]
    assert (small_disk / "file").read_bytes() == bytes(200_000)


class WithoutReservations:
    """A C library on a file system that cannot reserve."""

    def __init__(self, *_, **__) -> None:
        pass

    def fallocate(self, *_) -> int:
        ctypes.set_errno(errno.EOPNOTSUPP)
        return -1


def test_where_nothing_can_be_reserved_the_free_room_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", WithoutReservations)
    with published(tmp_path / "file", reserve=2**20) as file:
        assert os.fstat(file.fileno()).st_blocks == 0
        file.write(b"x")
    assert (tmp_path / "file").read_bytes() == b"x"
    with (
        pytest.raises(StorageError, match=r"No space left on device \(\d+\.\d MB needed, \d+"),
        published(tmp_path / "large", reserve=free_bytes(tmp_path) + 2**40),
    ):
        pytest.fail("the block ran")
    assert names(tmp_path) == ["file"]


def test_removing_spares_absent_files_and_folders(tmp_path):
    publish_bytes(tmp_path / "file", b"x")
    remove_files([tmp_path / "file", tmp_path / "absent", tmp_path / "no folder" / "file"])
    assert names(tmp_path) == []


def test_a_removal_that_fails_is_a_storage_error(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        remove_files([tmp_path / "file"])


def test_a_folder_is_made_with_its_parents_and_may_exist(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


@contextmanager
def started(program: str, *arguments):
    """Another process, from its first line of output to the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout.readline()
        try:
            yield other
        finally:
            other.kill()


def test_a_living_process_that_writes_the_same_file_is_waited_for(tmp_path, monkeypatch):
    path, real = tmp_path / "file", publish_file.time.sleep

    def told_that_we_wait(seconds: float) -> None:
        other.stdin.close()  # now it goes on and ends
        real(seconds)

    monkeypatch.setattr(publish_file, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(publish_file.time, "sleep", told_that_we_wait)
    with started(WRITING, path) as other:
        publish_bytes(path, b"ours", existing="keep")
        assert other.wait(60) == 0
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["file"]


def test_a_living_process_that_goes_on_writing_is_told_of_and_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(publish_file, "PATIENCE_SECONDS", 0.1)
    with started(WRITING, tmp_path / "file") as other:
        with pytest.raises(StorageError, match=r"another fdet process is writing.*wait for it"):
            publish_bytes(tmp_path / "file", b"ours")
        publish_bytes(tmp_path / "another", b"ours")
        other.stdin.close()
        assert other.wait(60) == 0
    assert (tmp_path / "file").read_bytes() == b"theirs"
    assert names(tmp_path) == ["another", "file"]


def test_two_processes_that_publish_the_same_files_at_once_both_succeed(tmp_path):
    with started(PUBLISHING, tmp_path) as one, started(PUBLISHING, tmp_path) as other:
        for process in (one, other):
            process.stdin.close()
        assert [one.wait(60), other.wait(60)] == [0, 0]
    assert names(tmp_path) == sorted(map(str, range(200)))
    assert all((tmp_path / str(n)).read_bytes() == b"the same" * n for n in range(200))


@pytest.mark.parametrize("existing", ["aside", "keep", "replace"])
def test_threads_that_publish_the_same_file_at_once_all_succeed(tmp_path, existing):
    barrier = threading.Barrier(4)

    def publish(content: bytes) -> None:
        barrier.wait(20)
        for _ in range(20):
            publish_bytes(tmp_path / "file", content, existing=existing)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish, [b"the same"] * 4))
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"the same"


def test_threads_that_publish_other_bytes_lose_none_of_them(tmp_path):
    contents = [b"%d" % k for k in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: publish_bytes(tmp_path / "file", content), contents))
    assert sorted((tmp_path / name).read_bytes() for name in names(tmp_path)) == contents


def publish_robbed(path, rob) -> None:
    with published(path) as file:
        file.write(b"ours")
        rob(path.with_name(f".{path.name}{SCRATCH}"))


def test_a_writer_whose_scratch_file_is_taken_away_fails_aloud(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        publish_robbed(tmp_path / "file", lambda scratch: scratch.rename(tmp_path / "taken"))
    assert names(tmp_path) == ["taken"]


def test_a_writer_that_fails_removes_no_scratch_file_but_its_own(tmp_path):
    def rob(scratch) -> None:
        scratch.unlink()
        scratch.write_bytes(b"theirs")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        publish_robbed(tmp_path / "file", rob)
    assert (tmp_path / f".file{SCRATCH}").read_bytes() == b"theirs"


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    folder = tmp_path / "new"
    with started(HOLDING, folder) as other:
        with (
            pytest.raises(StorageError, match="another fdet process is writing"),
            only_writer(folder),
        ):
            pytest.fail("two writers at once")
        other.kill()
        other.wait(60)
        with only_writer(folder):
            pass


def test_a_second_writer_in_the_same_process_is_refused_too(tmp_path):
    with only_writer(tmp_path), pytest.raises(StorageError), only_writer(tmp_path):
        pytest.fail("two writers at once")
    with only_writer(tmp_path):
        pass


def test_a_role_is_held_apart_from_other_roles(tmp_path):
    with only_writer(tmp_path, "rank-0"), only_writer(tmp_path, "rank-1"):
        assert names(tmp_path) == [".rank-0.scratch", ".rank-1.scratch"]
        with pytest.raises(StorageError, match="another fdet process"):
            only_writer(tmp_path, "rank-1").__enter__()
    assert names(tmp_path) == []


def test_a_role_is_held_where_only_a_writable_file_can_be_locked(tmp_path, monkeypatch):
    """As on NFS, see flock(2)."""
    real = fcntl.flock

    def as_on_nfs(descriptor, operation):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", as_on_nfs)
    with only_writer(tmp_path), pytest.raises(StorageError), only_writer(tmp_path):
        pytest.fail("two writers at once")


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


@pytest.fixture(params=[errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def no_links(request, monkeypatch):
    """A file system without hard links."""

    def refuse(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "link", refuse)


def test_without_links_a_file_still_never_replaces_another(tmp_path, no_links):
    path = tmp_path / "a"
    publish_bytes(path, b"first")
    publish_bytes(path, b"second", existing="keep")
    assert path.read_bytes() == b"first"
    publish_bytes(path, b"first")
    assert [p.name for p in tmp_path.iterdir()] == ["a"], "the same bytes set nothing aside"
    publish_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert (tmp_path / ".a.aside-1").read_bytes() == b"first"
    publish_bytes(path, b"third", existing="replace")
    assert path.read_bytes() == b"third"
    assert not leftovers(tmp_path)


def test_a_link_that_fails_for_another_reason_is_an_error(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StorageError, match="Input/output error"):
        publish_bytes(tmp_path / "a", b"first")
    assert not list(tmp_path.iterdir())
