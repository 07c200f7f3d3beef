"""Reading of files of a cache or a run, which opens nothing outside its folder and nothing too large.

root: a folder, or a prefix in an object store (cache/disk/objects.py).
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CorruptCache, FdetError, StorageError
from .objects import ObjectPath, OpenObject, opened_object

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Non-blocking: a named pipe in place of a file would otherwise block the reader for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Errors that say nothing about the content of the file.
_REFUSALS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM})


def open_below(root: Path, name: str) -> int:
    """Open the regular file `name` (a/b/c) below root and return its descriptor, for the caller to close.

    No link on the way is followed. Raises CorruptCache, StorageError (no permission, too many files).
    """
    if not is_below(name):
        raise CorruptCache(f"{root}: {name!r} leaves the folder of the cache")
    *folders, last = name.split("/")
    folder = -1
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in folders:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(last, _FILE, dir_fd=folder)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise _refused(root / name, error) from error
    finally:
        if folder >= 0:
            os.close(folder)
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError as error:
        os.close(descriptor)
        raise _refused(root / name, error) from error
    if not regular:
        os.close(descriptor)
        raise CorruptCache(f"{root / name}: expected a regular file")
    return descriptor


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that is read in parts."""

    descriptor: int
    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Read bytes at an offset, fewer where the file ends earlier. Raises OSError."""
        return os.pread(self.descriptor, length, offset)


@contextmanager
def opened_below(root: Path, name: str) -> Iterator[OpenFile | OpenObject]:
    """Open a file below root for the duration of the block; raises as open_below does."""
    if isinstance(root, ObjectPath):
        yield opened_object(_object_below(root, name))
        return
    descriptor = open_below(root, name)
    try:
        yield OpenFile(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def read_below(root: Path, name: str, limit: int) -> bytes:
    """Return the bytes of a file below root.

    Raises as open_below does, and CorruptCache when they exceed `limit`.
    """
    if isinstance(root, ObjectPath):
        return _read_object(_object_below(root, name), limit)
    descriptor = open_below(root, name)
    try:
        size = os.fstat(descriptor).st_size
        if size > limit:
            raise CorruptCache(f"{root / name}: {size} bytes, expected at most {limit}")
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
            return file.read()
    except (OSError, MemoryError) as error:
        raise _refused(root / name, error) from error
    finally:
        os.close(descriptor)


def _object_below(root: ObjectPath, name: str) -> ObjectPath:
    if not is_below(name):
        raise CorruptCache(f"{root}: {name!r} leaves the prefix of the cache")
    return root / name


def _read_object(path: ObjectPath, limit: int) -> bytes:
    try:
        return path.remote.read(path.key, limit)
    except (FileNotFoundError, ValueError) as error:
        raise _refused(path, error) from error


def is_there(path: Path) -> bool:
    """Return whether a path exists. Raises CorruptCache where the disk fails to answer."""
    try:
        return path.exists()
    except OSError as error:
        raise _refused(path, error) from error


def is_below(name: str) -> bool:
    """Return whether a relative path (a/b/c) names something inside the folder that it starts from."""
    return not {"", ".", ".."}.intersection(name.split("/"))


def _refused(path: Path, error: Exception) -> FdetError:
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        return StorageError(f"cannot read {path}: {error.strerror}; fix this and try again")
    known = error.strerror if isinstance(error, OSError) else str(error)
    return CorruptCache(f"{path}: {known or type(error).__name__}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """The length and the sha256 of one file."""

    size: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> FileEntry:
        return cls(len(data), hashlib.sha256(data).hexdigest())


def files_to_json(files: Mapping[str, FileEntry]) -> dict[str, Any]:
    """Return the entries of files as JSON, by path below the root of a cache."""
    return {path: {"bytes": f.size, "sha256": f.sha256} for path, f in files.items()}


def files_from_json(data: Mapping[str, Any]) -> dict[str, FileEntry]:
    """Return the entries that `files_to_json` wrote.

    Raises KeyError, TypeError, ValueError or AttributeError where the data are no such table.
    """
    if outside := [name for name in data if not is_below(name)]:
        raise ValueError(f"{outside[0]!r} leaves the folder of the cache")
    return {name: _entry(**entry) for name, entry in data.items()}


def _entry(bytes: int, sha256: str) -> FileEntry:
    if type(bytes) is not int or not 0 <= bytes < 2**63 or type(sha256) is not str:
        raise ValueError(f"expected a length and a sha256, got {bytes!r} and {sha256!r}")
    return FileEntry(bytes, sha256)


@cache
def float_array_head(shape: tuple[int, ...]) -> bytes:
    """Return the header that numpy writes for a float32 array.

    Headers are compared as bytes, so that none that is read is ever interpreted.
    """
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()
