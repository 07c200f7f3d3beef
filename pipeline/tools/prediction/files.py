"""The files of a prediction's folder: small ones written whole, and the removal of those that it wrote."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ....cache.disk.files import is_below
from ....cache.disk.publish import SCRATCH, remove_files, storage_error
from ....cache.errors import InputError
from .journal import NAME as JOURNAL
from .journal import lines_in
from .results import FORMS
from .state import State

PICTURES, CROPS = "pictures", "crops"
# The first parts of the paths that a line may name.
_FOLDERS = frozenset({PICTURES, CROPS, *(form.folder for form in FORMS.values() if form.folder)})


def put(out: Path, name: str, data: bytes) -> None:
    """Write a file below `out` whole, or not at all; a power cut may still empty it.

    The caller holds the folder. Raises StorageError.
    """
    scratch, path = out / f".output{SCRATCH}", out / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(data)
        os.replace(scratch, path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise storage_error(path, error) from error


def clear(out: Path) -> None:
    """Remove what an earlier prediction wrote, and nothing else; its state stays, for the next to replace.

    Raises CorruptCache, StorageError.
    """
    state = State.read(out)
    if state is None:
        return
    forms = [FORMS[name] for name in state.formats]
    for form in forms:
        _remove(out, form.whole)
    for line in lines_in(out):
        if line is not None:
            names = [form.of_line(line) for form in forms if form.folder]
            _remove(out, [name for name in (*line.files, *names) if _is_own(name)])
    remove_files([out / JOURNAL])


def _is_own(name: str) -> bool:
    return is_below(name) and name.split("/")[0] in _FOLDERS


def _remove(out: Path, names: Iterable[str]) -> None:
    """Unlink files below `out`, and the folders that are empty then. Raises StorageError."""
    root = out.resolve()
    for name in names:
        path = root / name
        if not path.parent.resolve().is_relative_to(root):
            raise InputError(f"{out / name}: it is behind a link; remove that first")
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(path, error) from error
        with suppress(OSError):  # It holds other files still.
            for parent in list(PurePosixPath(name).parents)[:-1]:
                (root / parent).rmdir()
