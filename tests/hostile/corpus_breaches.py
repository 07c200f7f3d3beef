"""What the watch must notice: one case for each rule, which breaks it."""

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py

from fdet.cache.errors import CorruptCache

from .case import Case, outside_of

Work = Callable[[Path], object]


class Unkempt(CorruptCache):
    """With just the message that it is given."""

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)


def make_good(folder: Path) -> None:
    """Nothing is copied."""


def _prepare(folder: Path) -> None:
    with h5py.File(outside_of(folder) / "secret", "w") as file:
        file["a"] = 1
    (folder / "link").symlink_to(outside_of(folder) / "secret")


def breach(name: str, work: Work, **options: object) -> Case:
    """A call that does `work`, and then raises what it should."""

    def attempt(folder: Path) -> None:
        work(folder)
        raise CorruptCache(f"{folder}: refused")

    def attempts(folder: Path) -> list[tuple[str, Callable[[], None]]]:
        return [("attempt", lambda: attempt(folder))]

    return Case(name, _prepare, attempts, (CorruptCache,), **options)


def refusal(name: str, message: str) -> Case:
    def work(folder: Path) -> None:
        raise Unkempt(message.format(folder))

    return breach(name, work)


def _open_from_c(folder: Path) -> None:
    libc = ctypes.CDLL(None)
    libc.close(libc.open(os.fsencode(outside_of(folder) / "secret"), os.O_RDONLY))


def _open_beside(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.open("link", os.O_RDONLY, dir_fd=descriptor)


def _read_by_hdf5(folder: Path) -> None:
    with h5py.File(folder / "own.h5", "w") as file:
        file["a"] = h5py.ExternalLink(str(outside_of(folder) / "secret"), "/a")
        file["a"][()]


def _fail(error: Exception) -> Work:
    def work(folder: Path) -> None:
        raise error

    return work


CASES = [
    breach("nothing", lambda folder: (folder / "own").write_text("x")),
    breach("opens outside", lambda folder: (outside_of(folder) / "secret").read_bytes()),
    breach("follows a link", lambda folder: (folder / "link").read_bytes()),
    breach("follows a link beside a folder", _open_beside),
    breach("opens outside, from C", _open_from_c),
    breach("opens outside, by HDF5", _read_by_hdf5),
    breach("makes a file outside", lambda folder: os.mkfifo(outside_of(folder) / "more")),
    breach("deletes outside", lambda folder: (outside_of(folder) / "secret").unlink()),
    breach("opens a file of the system", lambda folder: Path("/etc/hosts").read_bytes()),
    breach("opens a device", lambda folder: os.close(os.open("/dev/null", os.O_RDONLY))),
    breach("starts a program", lambda folder: subprocess.run([sys.executable, "-c", ""])),
    breach("hangs", lambda folder: time.sleep(600), seconds=1.0),
    breach("dies", lambda folder: os.abort()),
    breach("takes memory", lambda folder: b"x" * (650 * 2**20)),
    breach("takes more memory than there is", lambda folder: bytes(2**33)),
    breach("raises another error", _fail(KeyError("x"))),
    breach("recurses", lambda folder: json.loads("[" * 100_000)),
    refusal("names no file", "it is corrupt"),
    refusal("says too much", "{}: " + "x" * 3000),
    refusal("tells the terminal what to do", "{}: \x1b[2J"),
    Case("refuses nothing", lambda folder: None, lambda folder: [("attempt", lambda: None)]),
    Case("cannot be made", _fail(OSError("no room")), lambda folder: []),
]
