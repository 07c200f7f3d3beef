"""The disk's rates: of the right part of the writing, and nothing is left however it ends."""

import errno
import os
from pathlib import Path

import pytest
import zstandard

from fdet.cache.errors import InputError, StorageError
from fdet.pipeline.machines import disk
from fdet.pipeline.machines.disk import (
    existing_folder,
    file_system_of,
    first_and_last,
    measure_disk,
)

SMALL = 8 * 2**20


@pytest.fixture
def pieces(monkeypatch, tmp_path):
    """Does something before a piece is written; the folder shows no file while that goes on."""

    def before(action):
        write, count = disk._write_piece, iter(range(1000))

        def acted(file, size, blocks):
            assert list(tmp_path.iterdir()) == [], "a killed process would leave it"
            assert os.fstat(file.fileno()).st_dev == tmp_path.stat().st_dev
            action(next(count))
            write(file, size, blocks)

        monkeypatch.setattr(disk, "_write_piece", acted)

    return before


def test_the_last_part_is_told_apart_from_the_first():
    fast, slow = (100, 1.0), (100, 10.0)
    assert first_and_last([fast, fast, *[slow] * 6]) == (100.0, 10.0)
    assert first_and_last([fast, slow, slow, slow]) == (100.0, 10.0)
    assert first_and_last([slow]) == (10.0, 10.0)
    assert first_and_last([fast, slow, *[fast] * 6]) == (200 / 11, 100.0)


def test_as_much_is_written_as_was_asked_for(pieces, tmp_path):
    pieces(lambda number: None)
    found = measure_disk(tmp_path, SMALL)
    assert (found.written, found.folder) == (SMALL, str(tmp_path))
    assert min(found.first, found.sustained, found.read, found.latency) > 0
    assert found.free > SMALL
    assert list(tmp_path.iterdir()) == []


def test_the_rates_are_of_the_clock(tmp_path, monkeypatch):
    """Eight pieces of 1 MiB: the first two take a second each, the others four."""
    now, count = [0.0], iter(range(100))
    write = disk._write_piece

    def slow(file, size, blocks):
        write(file, size, blocks)
        now[0] += 1.0 if next(count) < 2 else 4.0

    monkeypatch.setattr(disk, "_write_piece", slow)
    found = measure_disk(tmp_path, SMALL, clock=lambda: now[0])
    assert (found.first, found.sustained) == (2**20, 2**18)


def test_without_a_size_it_ends_with_the_time(tmp_path, monkeypatch):
    now = [0.0]
    write = disk._write_piece

    def slow(file, size, blocks):
        write(file, size, blocks)
        now[0] += 4.0

    monkeypatch.setattr(disk, "_write_piece", slow)
    monkeypatch.setattr(disk, "WRITE_BYTES", SMALL)
    assert measure_disk(tmp_path, clock=lambda: now[0]).written == 3 * 2**20
    now[0] = 0.0
    assert measure_disk(tmp_path, SMALL, clock=lambda: now[0]).written == SMALL


def test_never_more_than_a_share_of_what_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(
        disk.shutil, "disk_usage", lambda _: disk.shutil._ntuple_diskusage(0, 0, 40 * 2**20)
    )
    assert measure_disk(tmp_path, 2**40).written <= 4 * 2**20
    monkeypatch.setattr(
        disk.shutil, "disk_usage", lambda _: disk.shutil._ntuple_diskusage(0, 0, 2**20)
    )
    with pytest.raises(StorageError, match=r"has 1\.0 MB free: no room to measure it"):
        measure_disk(tmp_path)


def test_a_disk_that_is_full_ends_the_writing(pieces, tmp_path):
    def full(number):
        if number == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    pieces(full)
    assert measure_disk(tmp_path, SMALL).written == 5 * 2**20
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("code", "number"), [(errno.ENOSPC, 0), (errno.EIO, 3)])
def test_a_disk_that_refuses_is_one_line(code, number, pieces, tmp_path):
    def refused(now):
        if now == number:
            raise OSError(code, os.strerror(code))

    pieces(refused)
    with pytest.raises(StorageError, match=f"cannot write in {tmp_path}: {os.strerror(code)}"):
        measure_disk(tmp_path, SMALL)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing(pieces, tmp_path):
    def interrupted(number):
        if number == 2:
            raise KeyboardInterrupt

    pieces(interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_disk(tmp_path, SMALL)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_is_neither_compressed_nor_found_twice():
    """By file systems, which look at 128 KiB at a time, or for 4 KiB that they have already."""
    blocks = disk._Incompressible()
    written = b"".join(blocks.next(2**20) for _ in range(16))
    records = [written[k : k + 2**17] for k in range(0, len(written), 2**17)]
    assert min(len(zstandard.compress(record)) for record in records) > 2**17 - 2**10
    pages = [written[k : k + 4096] for k in range(0, len(written), 4096)]
    assert len(set(pages)) == len(pages)


def test_the_nearest_folder_that_is_there_is_measured(tmp_path, monkeypatch):
    assert existing_folder(tmp_path / "a" / "b.fdet") == tmp_path
    assert existing_folder(tmp_path) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert existing_folder(Path("c.fdet")) == tmp_path
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file; expected a folder"):
        existing_folder(tmp_path / "file" / "c.fdet")


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path):
    mounts = tmp_path / "mounts"
    space = str(tmp_path / "with space").replace(" ", "\\040")
    lines = ["/dev/a / ext4 rw 0 0", f"m {space} tmpfs rw 0 0", f"n {tmp_path}/wi xfs rw 0 0"]
    mounts.write_text("\n".join(lines))
    assert file_system_of(tmp_path, mounts) == "ext4"
    assert file_system_of(tmp_path / "with space" / "x", mounts) == "tmpfs"
    assert file_system_of(tmp_path / "wish", mounts) == "ext4"
    assert file_system_of(tmp_path, tmp_path / "none") == "unknown"
