"""Files and folders that may not be read, also for root, whom no right stops."""

import builtins
import errno
import io
import os
from pathlib import Path


def close(path: Path, monkeypatch) -> Path:
    """Take the right to read a file, or to look into a folder, until the end of the test."""

    def refused(given, *, itself: bool) -> None:
        if isinstance(given, str | os.PathLike):
            found = Path(given)
            if path in found.parents or (itself and found == path):
                raise PermissionError(errno.EACCES, "Permission denied", str(given))

    def watched(function, *, itself: bool):
        def call(given=".", *arguments, **options):
            refused(given, itself=itself)
            return function(given, *arguments, **options)

        return call

    def access(given, mode, **options) -> bool:
        found = Path(given)
        return found != path and path not in found.parents and real_access(given, mode, **options)

    real_access = os.access
    for owner, name in ((os, "scandir"), (os, "listdir"), (io, "open"), (builtins, "open")):
        monkeypatch.setattr(owner, name, watched(getattr(owner, name), itself=True))
    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, watched(getattr(os, name), itself=False))
    monkeypatch.setattr(os, "access", access)
    return path
