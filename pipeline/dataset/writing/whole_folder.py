"""A folder that is written whole or not at all: filled under another name and renamed."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ....cache.disk.publish import (
    SCRATCH,
    make_folder,
    only_writer,
    storage_error,
    sync_folder,
    sync_folders,
)
from ....cache.errors import InputError

_WRITER = "writer"


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder to fill, in the same folder as `out`, which it becomes when the block ends.

    Where `out` holds the same already, as after the same command, it stays. Raises InputError where it
    holds something else, and StorageError where the disk refuses or another process writes the same folder.
    """
    refuse_no_folder(out)
    out = Path(os.path.realpath(out))
    scratch = out.with_name(f".{out.name}{SCRATCH}")
    try:
        make_folder(out.parent)
        with only_writer(scratch, _WRITER, alone=True):
            try:
                _empty(scratch)  # A process that was killed may have left something.
                yield scratch
                _publish(scratch, out)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
    except OSError as error:
        raise storage_error(out, error) from error


def refuse_no_folder(out: Path) -> None:
    """Raise InputError for a path that can be no new folder: a file, or the root of all folders."""
    if (out.exists() and not out.is_dir()) or not Path(os.path.realpath(out)).name:
        raise InputError(f"--out {out}: it is not a folder that can be made; choose another")


def refuse_others(out: Path, names: set[str]) -> None:
    """Raise InputError where a folder holds files with other names, relative to it."""
    for root, _, files in os.walk(out):
        for name in files:
            other = str(Path(root, name).relative_to(out))
            if other not in names:
                raise InputError(f"--out {out}: it holds other files ({other}); choose another")


def _publish(scratch: Path, out: Path) -> None:
    """Rename a folder that is finished; its lock goes first, so that it does not become a part of it."""
    _lock(scratch).unlink()
    if out.is_dir() and any(out.iterdir()):
        _refuse_different(scratch, out)
        shutil.rmtree(scratch)
        return
    sync_folders(scratch)
    scratch.rename(out)
    sync_folder(out.parent)


def _refuse_different(scratch: Path, out: Path) -> None:
    """Raise InputError where a folder does not hold exactly what the other one does."""
    names = {
        str(Path(root, name).relative_to(scratch))
        for root, _, files in os.walk(scratch)
        for name in files
    }
    refuse_others(out, names)
    for name in sorted(names):
        if not _same(scratch / name, out / name):
            raise InputError(
                f"--out {out}: it holds something else already ({name} differs); choose another"
            )


def _same(one: Path, other: Path) -> bool:
    """Return whether two files have the same bytes; links to one file have."""
    if not other.is_file():
        return False
    return one.samefile(other) or filecmp.cmp(one, other, shallow=False)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != _lock(folder):
            path.unlink()


def _lock(folder: Path) -> Path:
    return folder / f".{_WRITER}{SCRATCH}"
