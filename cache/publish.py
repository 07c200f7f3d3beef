"""A file is whole or absent: scratch file, fsync, link to its name, fsync of the folder."""

from __future__ import annotations

import fcntl
import filecmp
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import StorageError


@contextmanager
def published(path: Path, *, replace: bool = False) -> Iterator[BinaryIO]:
    """A scratch file to write; it becomes `path` when the block ends, and never if it raises.

    Without `replace` nothing is ever overwritten: a file that stands there with the same bytes is
    kept, one with other bytes is set aside under a hidden name. Raises StorageError when the disk
    refuses.
    """
    scratch = path.with_name(f".{path.name}.scratch-{os.getpid()}")
    try:
        make_folder(path.parent)
        with open(scratch, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(scratch, path)
        else:
            _link(scratch, path)
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with suppress(OSError):  # where there is no folder, or it is read-only
            scratch.unlink()


def publish_bytes(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Publish a small file in one go."""
    with published(path, replace=replace) as file:
        file.write(data)


def _link(scratch: Path, path: Path) -> None:
    """A link, not a rename: it fails where a file stands already instead of replacing it."""
    try:
        os.link(scratch, path)
    except FileExistsError:
        if not filecmp.cmp(scratch, path, shallow=False):
            os.rename(path, _aside(path))
            os.link(scratch, path)


def _aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f".{path.name}.aside-{number}")).exists():
        number += 1
    return aside


def remove_scratch(path: Path) -> None:
    """Remove what killed processes left of `path`; only its one owner may call this."""
    for leftover in path.parent.glob(f".{path.name}.scratch-*"):
        leftover.unlink(missing_ok=True)


def remove_files(paths: list[Path]) -> None:
    """Unlink files that may be absent, and make their absence durable."""
    for path in paths:
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents so that they survive a power cut."""
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for created in reversed(missing):
        sync_folder(created.parent)


def sync_folder(folder: Path) -> None:
    """fsync a folder, so that the names in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a folder against a second process; a killed one lets go by itself.

    Raises StorageError when another process holds it, or when it cannot be made. Where the file
    system knows no locks, nothing is held: publishing is safe without, work may be done twice.
    """
    try:
        make_folder(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise storage_error(folder, error) from error
    try:
        with suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StorageError(
                    f"{folder}: another fdet process is writing here; wait for it"
                ) from None
        yield
    finally:
        os.close(descriptor)


def storage_error(path: Path, error: OSError) -> StorageError:
    """One line for a refusal of the disk."""
    return StorageError(
        f"cannot write {path}: {error.strerror or error}; what was finished is kept: mend this and "
        "run the same command again"
    )
