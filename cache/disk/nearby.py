"""The frames of object stores that are kept on a local disk: FDET_CACHE_DIR, FDET_CACHE_SIZE.

Any number of processes share the folder. A frame is a file named by the digest of its origin; what is read
from it is checked against the frame's own checksum, so no file here has to be durable or trusted.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile

import google_crc32c

from ..errors import StorageError
from .sizes import parse_bytes

FOLDER, SIZE = "FDET_CACHE_DIR", "FDET_CACHE_SIZE"
DEFAULT_SIZE = "50GB"
_TOTAL = "total"
_PREFIX = "f-"
# Eviction looks at every file, so it frees more space than one frame needs.
_KEPT_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class NearbyFrames:
    """A folder that keeps at most `limit` bytes of frames; the least recently used are removed first."""

    folder: Path
    limit: int

    def get(self, label: str, length: int, crc32c: int) -> bytes | None:
        """Return a frame, or None where it is absent or damaged; a damaged one is removed."""
        path = self._path(label)
        try:
            data = path.read_bytes()
            if len(data) == length and google_crc32c.value(data) == crc32c:
                os.utime(path)
                return data
            self._remove(path)
        except OSError:
            return None
        return None

    def keep(self, label: str, data: bytes) -> None:
        """Keep a frame, unless the disk refuses or the frame is too large."""
        path = self._path(label)
        if len(data) > self.limit * (1 - _KEPT_SHARE):
            return
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._total() as total:
                if path.exists():
                    return
                if total.value + len(data) > self.limit:
                    total.value = self._evicted(int(self.limit * _KEPT_SHARE) - len(data))
                total.value += len(data)
                # The total goes first: a kill in between then wastes space, but never exceeds the limit.
                total.keep()
                _write(path, data)

    def _path(self, label: str) -> Path:
        name = hashlib.sha256(label.encode()).hexdigest()
        return self.folder / name[:2] / f"{_PREFIX}{name}"

    def _remove(self, path: Path) -> None:
        with self._total() as total:
            total.value -= path.stat().st_size
            path.unlink()

    @contextmanager
    def _total(self) -> Iterator[_Total]:
        """Yield the size of all frames to one process at a time, and keep it in a file afterwards."""
        descriptor = os.open(self.folder / _TOTAL, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            raw = os.pread(descriptor, 32, 0)
            value = int(raw) if raw.isdigit() else self._evicted(self.limit)
            total = _Total(descriptor, value)
            yield total
            total.keep()
        finally:
            os.close(descriptor)

    def _evicted(self, room: int) -> int:
        """Evict frames down to `room` bytes, and return the size of the rest as counted on the disk."""
        found = []
        for path in self.folder.glob("??/*"):
            with suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= room:
                break
            with suppress(OSError):
                path.unlink()
                total -= size
        return total


@dataclass(slots=True)
class _Total:
    descriptor: int
    value: int

    def keep(self) -> None:
        os.pwrite(self.descriptor, b"%020d" % max(self.value, 0), 0)


def _write(path: Path, data: bytes) -> None:
    """Write a file that readers find complete or not at all, unless the machine dies meanwhile."""
    with NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.replace(file.name, path)
        except OSError:
            os.unlink(file.name)  # noqa: PTH108
            raise


def nearby_frames() -> NearbyFrames | None:
    """Return the frames in the folder that the environment names, or None where it names none.

    Raises InputError, StorageError.
    """
    folder = os.environ.get(FOLDER)
    return _nearby(folder, os.environ.get(SIZE) or DEFAULT_SIZE) if folder else None


@cache
def _nearby(folder: str, size: str) -> NearbyFrames:
    found = NearbyFrames(Path(folder), parse_bytes(size, SIZE))
    try:
        found.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{FOLDER}={folder}: {error.strerror}") from error
    return found
