"""Links, pipes, devices, sockets and folders where the files of a cache should be."""

import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from fdet.cache.errors import StorageError

from .cache_attempts import REFUSALS, cache_attempts, with_removal
from .case import Case, outside_of
from .forging import both_forged, forged, level_file, reseal

Spoil = Callable[[Path, Path], object]
LARGE_BYTES = 2**40
# What stands where a file should be may defy deletion.
ERRORS = (*REFUSALS, StorageError)


def _link_to_a_copy(path: Path, outside: Path) -> None:
    """What the link leads to is just what belongs here."""
    (outside / path.name).unlink(missing_ok=True)
    shutil.move(path, outside / path.name)
    path.symlink_to(outside / path.name)


def _link(target: str) -> Spoil:
    def spoil(path: Path, outside: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return spoil


def _fifo(path: Path, outside: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _socket(path: Path, outside: Path) -> None:
    path.unlink()
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


def _device(path: Path, outside: Path) -> None:
    """/dev/zero; a link to it where only root may make devices."""
    path.unlink()
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        path.symlink_to("/dev/zero")


def _folder(path: Path, outside: Path) -> None:
    path.unlink()
    (path / "inner").mkdir(parents=True)


def _gone(path: Path, outside: Path) -> None:
    path.unlink()


def _empty(path: Path, outside: Path) -> None:
    path.write_bytes(b"")


def _grown(path: Path, outside: Path) -> None:
    """A terabyte of zeros behind what belongs here, without a disk to match."""
    os.truncate(path, LARGE_BYTES)


def _large(path: Path, outside: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, LARGE_BYTES)


SPOILT: dict[str, Spoil] = {
    "a link to a copy outside": _link_to_a_copy,
    "a link to /dev/zero": _link("/dev/zero"),
    "a link to /dev/stdin": _link("/dev/stdin"),
    "a link to /etc/passwd": _link("/etc/passwd"),
    "a link to nothing": _link("nowhere"),
    "a link up": _link("../../../../../../etc/hostname"),
    "a FIFO": _fifo,
    "a socket": _socket,
    "a device": _device,
    "a folder": _folder,
    "not there": _gone,
    "empty": _empty,
    "a terabyte longer": _grown,
    "a terabyte of zeros": _large,
}

# The rest differs in nothing that `fdet cache rm` looks at.
DELETED = ("a link to a copy outside", "a link to nothing", "a FIFO", "a folder", "not there")

TARGETS: dict[str, Callable[[Path], Path]] = {
    "fdet.json": lambda root: root / "fdet.json",
    "manifest.json": lambda root: root / "manifest.json",
    "a record": lambda root: root / "commits" / "32x32-0.json",
    "a samples table": lambda root: root / "samples" / "32x32-0.npy",
    "a level file": level_file,
    "annotations.json.zst": lambda root: root / "annotations.json.zst",
}


def _spoilt_file(target: str, how: str) -> Case:
    def prepare(folder: Path) -> None:
        for root in both_forged(folder):
            SPOILT[how](TARGETS[target](root), outside_of(folder))

    attempts = with_removal if how in DELETED else cache_attempts
    return Case(f"{target}: {how}", prepare, attempts, ERRORS)


def _link_to_itself(target: str) -> Case:
    def prepare(folder: Path) -> None:
        for root in both_forged(folder):
            path = TARGETS[target](root)
            path.unlink()
            path.symlink_to(path.name)

    return Case(f"{target}: a link to itself", prepare, with_removal, ERRORS)


def _moved_out(path: Path, outside: Path) -> None:
    shutil.copytree(path, outside / path.name, dirs_exist_ok=True)
    shutil.rmtree(path)
    path.symlink_to(outside / path.name)


def _instead(make: Spoil) -> Spoil:
    def spoil(path: Path, outside: Path) -> None:
        shutil.rmtree(path)
        make(path, outside)

    return spoil


SPOILT_FOLDERS: dict[str, Spoil] = {
    "a link to a copy outside": _moved_out,
    "a link to itself": _instead(lambda path, _: path.symlink_to(path.name)),
    "a link up": _instead(lambda path, _: path.symlink_to("..")),
    "a link to /": _instead(lambda path, _: path.symlink_to("/")),
    "a link to /dev": _instead(lambda path, _: path.symlink_to("/dev")),
    "a file": _instead(lambda path, _: path.write_bytes(b"{}")),
    "a FIFO": _instead(_fifo),
    "a socket": _instead(lambda path, outside: (path.touch(), _socket(path, outside))),
}


def _spoilt_folder(name: str, how: str) -> Case:
    def prepare(folder: Path) -> None:
        for root in both_forged(folder):
            if (root / name).is_dir():
                SPOILT_FOLDERS[how](root / name, outside_of(folder))
        if name == "32x32/p3":
            shutil.rmtree(folder / "hdf5.fdet")

    return Case(f"{name}/: {how}", prepare, with_removal, ERRORS)


def _instead_of_the_cache(how: str, make: Callable[[Path], object]) -> Case:
    return Case(f"the cache: {how}", lambda folder: make(folder / "a.fdet"), with_removal, ERRORS)


def _stray(name: str, make: Callable[[Path], object], refused: bool = True) -> Case:
    """A file more than belongs there."""

    def prepare(folder: Path) -> None:
        make(forged(folder))

    return Case(f"stray: {name}", prepare, with_removal, ERRORS, refused)


def _link_in_cache(name: str, target: str) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        outside = outside_of(root.parent)
        (outside / "secret").write_text("a")
        (root / name).symlink_to(outside if target == "outside" else outside / target)

    return make


def _many(root: Path) -> None:
    for k in range(1000):
        (root / f"{k}").touch()


def _deep(root: Path) -> None:
    here = Path.cwd()
    os.chdir(root)
    for _ in range(600):
        Path("d" * 10).mkdir()
        os.chdir("d" * 10)
    Path("file").touch()
    os.chdir(here)


def _foreign_links(folder: Path) -> None:
    """Every digest fits, and the files are links to files that fit."""
    for root in both_forged(folder):
        reseal(root)
        for path in [p for p in root.rglob("*") if p.is_file()]:
            there = outside_of(folder) / root.name / path.relative_to(root)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, there)
            path.symlink_to(there)


CASES = [
    *(_spoilt_file(target, how) for target in TARGETS for how in SPOILT),
    *(_link_to_itself(target) for target in TARGETS),
    *(
        _spoilt_folder(name, how)
        for name in ("commits", "samples", "32x32", "32x32/p3")
        for how in SPOILT_FOLDERS
    ),
    _instead_of_the_cache("a file", lambda path: path.write_bytes(b"{}")),
    _instead_of_the_cache("a FIFO", os.mkfifo),
    _instead_of_the_cache("an empty folder", lambda path: path.mkdir()),
    _instead_of_the_cache("a link to itself", lambda path: path.symlink_to(path.name)),
    _instead_of_the_cache("a link to nothing", lambda path: path.symlink_to("nowhere")),
    _instead_of_the_cache("a link to /dev/zero", lambda path: path.symlink_to("/dev/zero")),
    Case("every file: a link to its copy outside", _foreign_links, with_removal, ERRORS),
    _stray("a link to a file outside", _link_in_cache("more", "secret")),
    _stray("a link to a folder outside", _link_in_cache("more", "outside")),
    _stray("a scratch file that is a link", _link_in_cache(".a.scratch", "secret"), False),
    _stray(
        "a scratch file that is a link to a folder", _link_in_cache(".a.scratch", "outside"), False
    ),
    _stray("a scratch file that is a FIFO", lambda root: os.mkfifo(root / ".more.scratch"), False),
    _stray("a scratch file that is a folder", lambda root: (root / ".more.scratch").mkdir(), False),
    _stray(
        "a file set aside that is a FIFO", lambda root: os.mkfifo(root / ".more.aside-1"), False
    ),
    _stray("a lock that is a FIFO", lambda root: os.mkfifo(root / ".rank-0-of-1.scratch"), False),
    _stray("a FIFO", lambda root: os.mkfifo(root / "more")),
    _stray("a name that is not UTF-8", lambda root: (root / os.fsdecode(b"\xff\xfe")).touch()),
    _stray("a name that moves the cursor", lambda root: (root / "\x1b[2J\n").touch()),
    _stray("1,000 files", _many),
    _stray("600 folders deep", _deep, False),
]
