"""Atomic writing of files: scratch file, fsync, link to its name, fsync of the folder.

So a file is complete or absent. Writers need no coordination: a writer holds a lock on its scratch file,
which a killed process releases, and the next writer throws away what was left there. An object store needs
neither locks nor fsync: cache/disk/objects.py.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import filecmp
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

from ..errors import StorageError
from .objects import ObjectPath, uploaded
from .sizes import megabytes

Existing = Literal["aside", "keep", "replace"]

SCRATCH = ".scratch"
PATIENCE_SECONDS = 10.0
# What a file system without hard links answers: FAT and exFAT, SMB, and file systems of programs.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV})


@contextmanager
def published(path: Path, *, existing: Existing = "aside", reserve: int = 0) -> Iterator[BinaryIO]:
    """Yield a scratch file to write; it becomes `path` when the block ends, and never if it raises.

    existing: what happens to a file that exists already: "keep" keeps it, "replace" replaces it, and
    "aside" keeps it where its bytes are the same and otherwise sets it aside under a hidden name. reserve:
    the bytes of disk space to claim before the block begins, at least as many as it will write. Raises
    StorageError when the disk refuses, or another process is writing the same file.
    """
    if isinstance(path, ObjectPath):
        with uploaded(path, existing) as file:
            yield file
        return
    scratch = path.with_name(f".{path.name}{SCRATCH}")
    try:
        make_folder(path.parent)
        with _held(scratch, PATIENCE_SECONDS) as file:
            if reserve:
                _reserve(file, reserve)
            yield file
            if reserve:
                file.truncate()
            file.flush()
            os.fsync(file.fileno())
            if existing == "replace":
                os.replace(scratch, path)
            else:
                _link(scratch, path, keep=existing == "keep")
            sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def publish_bytes(path: Path, data: bytes, *, existing: Existing = "aside") -> None:
    """Publish a small file at once."""
    with published(path, existing=existing) as file:
        file.write(data)


@contextmanager
def _held(path: Path, patience: float) -> Iterator[BinaryIO]:
    """Yield a new empty file that only this process holds; its name is removed when the block ends."""
    file = _created(path, patience)
    try:
        yield file
    finally:
        # The name goes before the lock: a name that is found is locked, or was left by a dead process.
        with suppress(OSError):  # a folder that became read-only
            if _is_named(file.fileno(), path):
                path.unlink()
        with suppress(OSError):  # closing flushes, and there may be no space for that either
            file.close()


def _created(path: Path, patience: float) -> BinaryIO:
    deadline = time.monotonic() + patience
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            if not _removed(path):
                if time.monotonic() > deadline:
                    raise _busy(path) from None
                time.sleep(0.02)
            continue
        if _locked(descriptor) and _is_named(descriptor, path):
            return os.fdopen(descriptor, "wb")
        os.close(descriptor)


def _busy(path: Path) -> StorageError:
    return StorageError(
        f"another fdet process is writing in {path.parent} ({path.name} is locked); wait for it"
    )


def _removed(path: Path) -> bool:
    """Unlink a file that a dead process left, or return False while a living one holds it."""
    try:
        # Opened for writing, since NFS does not lock files that are open only for reading.
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        if not _locked(descriptor):
            return False
        if _is_named(descriptor, path):
            path.unlink()
        return True
    finally:
        os.close(descriptor)


def _locked(descriptor: int, *, shared: bool = False) -> bool:
    """Lock the file if that is possible now, alone or shared, and return whether it is held.

    Where the file system knows no locks, every process holds it: two writers of one file then have two
    scratch files, and the one that removes the scratch file of the other makes that one fail visibly.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_named(descriptor: int, path: Path) -> bool:
    """Return whether the open file is still the one with this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _reserve(file: BinaryIO, size: int) -> None:
    """Claim disk space or, where that is not supported, check that there is enough."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(file.fileno(), 0, ctypes.c_int64(0), ctypes.c_int64(size)) == 0:
        return
    code = ctypes.get_errno()
    if code not in _UNSUPPORTED:
        raise OSError(code, f"{os.strerror(code)} (a shard needs {megabytes(size)})")
    disk = os.fstatvfs(file.fileno())
    free = disk.f_bavail * disk.f_frsize
    if free < size:
        text = f"{os.strerror(errno.ENOSPC)} ({megabytes(size)} needed, {megabytes(free)} free)"
        raise OSError(errno.ENOSPC, text)


def _link(scratch: Path, path: Path, *, keep: bool) -> None:
    """Link a file to its name; unlike a rename, a link never replaces a file that exists."""
    try:
        _name(scratch, path)
    except FileExistsError:
        if not keep and not filecmp.cmp(scratch, path, shallow=False):
            os.rename(path, _aside(path))
            _name(scratch, path)


def _name(scratch: Path, path: Path) -> None:
    """Give a file its name, by a rename where the file system has no links.

    The lock on the scratch file keeps out other writers of the name. Raises FileExistsError.
    """
    try:
        os.link(scratch, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        os.rename(scratch, path)


def _aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f".{path.name}.aside-{number}")).exists():
        number += 1
    return aside


def is_leftover(name: str, *, aside: bool = True) -> bool:
    """Return whether a file of this name is a scratch file, or one that was set aside."""
    return name.startswith(".") and (name.endswith(SCRATCH) or (aside and ".aside-" in name))


def leftovers(root: Path, *, aside: bool = False) -> list[Path]:
    """Return the scratch files below root, of which living processes may hold some.

    aside: whether to add files that were set aside.
    """
    found: list[Path] = []
    if isinstance(root, ObjectPath):
        return found
    for folder, _, names in os.walk(root):
        found += [Path(folder, name) for name in names if is_leftover(name, aside=aside)]
    return sorted(found)


def remove_leftovers(root: Path, *, aside: bool = False) -> list[tuple[Path, int]]:
    """Remove the files that killed processes left and no living one holds; return paths and sizes."""
    removed = []
    for path in leftovers(root, aside=aside):
        try:
            size = path.lstat().st_size
            if _removed(path):
                removed.append((path, size))
        except FileNotFoundError:  # another process was faster
            continue
        except OSError as error:
            raise storage_error(path, error) from error
    return removed


def remove_files(paths: list[Path]) -> None:
    """Unlink files that may be absent, and make their absence durable."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                sync_folder(path.parent)
        except OSError as error:
            raise storage_error(path, error) from error


def make_folder(folder: Path) -> None:
    """Create a folder and its parents so that they survive a power cut; raises StorageError."""
    if isinstance(folder, ObjectPath):
        return
    try:
        missing = [f for f in (folder, *folder.parents) if not f.exists()]
        if missing:
            # A killed process may just have made the folder that these go into; but not if the folder
            # above cannot even be listed.
            with suppress(PermissionError):
                sync_folder(missing[-1].parent.parent)
        for new in reversed(missing):
            new.mkdir(exist_ok=True)
            sync_folder(new.parent)
    except OSError as error:
        raise storage_error(folder, error) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, by fsync."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folders(root: Path) -> None:
    """Make all names in a folder and below it survive a power cut, by fsync. Raises StorageError."""
    if isinstance(root, ObjectPath):
        return
    try:
        for folder, _, _ in os.walk(root, onerror=_raise):
            sync_folder(Path(folder))
    except OSError as error:
        raise storage_error(root, error) from error


def _raise(error: OSError) -> None:
    raise error


@contextmanager
def only_writer(
    folder: Path, name: str = "writer", *, alone: bool = False, patience: float = 0.0
) -> Iterator[None]:
    """Hold a role in a folder, which no second process can hold; a killed process releases it.

    name: the name of the role. alone: whether every other role is excluded too. patience: the seconds to
    wait for a process that has the role. Raises StorageError when another process has it, or the folder
    cannot be made.
    """
    if isinstance(folder, ObjectPath):
        yield
        return
    with ExitStack() as stack:
        try:
            make_folder(folder)
            stack.enter_context(_shared(folder, alone=alone))
            mine = folder / f".{name}{SCRATCH}"
            stack.enter_context(_held(mine, patience))
            for other in folder.glob(f".*{SCRATCH}") if alone else ():
                if other != mine and not _removed(other):
                    raise _busy(other)
        except OSError as error:
            raise storage_error(folder, error) from error
        yield


@contextmanager
def _shared(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold a lock on the folder itself, which writers share unless `alone` is set."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not _locked(descriptor, shared=not alone):
            raise StorageError(f"another fdet process is working in {folder}; wait for it")
        yield
    finally:
        os.close(descriptor)


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return the error that reports a refusal of the disk in one line."""
    return StorageError(
        f"cannot write {path}: {error.strerror or error}; what was finished is kept: fix this and "
        "run the same command again"
    )
