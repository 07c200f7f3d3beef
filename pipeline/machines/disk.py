"""The rates at which the target disk writes once its fast cache is full, and at which it reads.

Both are measured on a file without a name, which vanishes with the process that has it open, however that
ends.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile

from ...cache.errors import InputError, StorageError
from .progress import progress_line

# Without --write-trial, writing ends when one of these is reached.
WRITE_SECONDS, WRITE_BYTES = 10.0, 2**33
# At most this share of the free space is written.
SHARE = 0.1
READ_SECONDS = 2.0
RANDOM_SECONDS, RANDOM_READS, RANDOM_BYTES = 1.0, 200, 4096
_PIECE, _BLOCK, _MIN_PIECE = 2**26, 2**22, 2**20
_IN_MEMORY = ("tmpfs", "ramfs")
_FULL = (errno.ENOSPC, errno.EDQUOT)

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Disk:
    """The measured rates of a disk.

    folder: the folder where they were measured. in_memory: whether its file system is kept in memory.
    free, written: the bytes that were free, and those that were written. first, sustained: the bytes per
    second of writing, at the beginning and at the end. read: the bytes per second of reading in sequence.
    latency: the seconds of a small read at a random offset.
    """

    folder: str
    file_system: str
    in_memory: bool
    free: int
    written: int
    first: float
    sustained: float
    read: float
    latency: float

    def read_seconds(self, size: float, pieces: int) -> float:
        """Return the seconds to read `size` bytes that lie at `pieces` offsets."""
        return size / self.read + pieces * self.latency


def existing_folder(out: Path) -> Path:
    """Return `out`, or the nearest existing folder above it. Raises InputError where that is a file."""
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise InputError(f"--out {out}: {nearest} is a file; expected a folder")
    return nearest


def measure_disk(
    folder: Path,
    most: int | None = None,
    clock: Clock = time.monotonic,
    *,
    seconds: float | None = None,
    option: str = "--out",
) -> Disk:
    """Measure the disk that a folder lies on.

    most: the bytes to write at most, however long that takes; None for a limited time. seconds: that limit,
    also where `most` is given. option: the option that names the folder. Raises StorageError where nothing
    can be written.
    """
    free = shutil.disk_usage(folder).free
    size = min(most or WRITE_BYTES, int(free * SHARE))
    if size < _MIN_PIECE:
        raise StorageError(
            f"{option}: {folder} has {free / 1e6:.1f} MB free: no room to measure it"
        )
    if seconds is None:
        seconds = WRITE_SECONDS if most is None else float("inf")
    try:
        with TemporaryFile(dir=folder, buffering=0) as file:
            pieces = _write(file, size, seconds, clock)
            written = sum(count for count, _ in pieces)
            first, sustained = first_and_last(pieces)
            read, latency = _read(file, written, clock), _latency(file, written, clock)
    except OSError as error:
        raise StorageError(f"{option}: cannot write in {folder}: {error.strerror}") from error
    kind = file_system_of(folder)
    return Disk(
        str(folder), kind, kind in _IN_MEMORY, free, written, first, sustained, read, latency
    )


def first_and_last(pieces: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Return the bytes per second of the first quarter and of the last, from (bytes, seconds) in order."""
    count = max(1, len(pieces) // 4)
    return _rate(pieces[:count]), _rate(pieces[-count:])


def _rate(pieces: Sequence[tuple[int, float]]) -> float:
    return sum(size for size, _ in pieces) / max(1e-9, sum(seconds for _, seconds in pieces))


def _write(file: FileIO, size: int, seconds: float, clock: Clock) -> list[tuple[int, float]]:
    """Write piece after piece, each through to the disk, and return the (bytes, seconds) of each.

    Writing ends early where the time is over or the disk is full.
    """
    blocks = _Incompressible()
    piece = min(_PIECE, max(_MIN_PIECE, size // 8))
    pieces: list[tuple[int, float]] = []
    begun = clock()
    with progress_line("writing (MiB)", size // 2**20) as progress:
        while len(pieces) < size // piece and clock() - begun < seconds:
            started = clock()
            try:
                _write_piece(file, piece, blocks)
            except OSError as error:
                if error.errno not in _FULL or not pieces:
                    raise
                os.ftruncate(file.fileno(), sum(count for count, _ in pieces))
                break
            pieces.append((piece, clock() - started))
            progress.note(f"{_rate(pieces[-1:]) / 1e6:.0f} MB/s")
            progress.advance(piece // 2**20)
    return pieces


def _write_piece(file: FileIO, size: int, blocks: _Incompressible) -> None:
    left = size
    while left:
        left -= file.write(blocks.next(min(left, _BLOCK))) or 0
    os.fsync(file.fileno())


class _Incompressible:
    """Random bytes, each time from another offset, so that no file system can compress or share them."""

    def __init__(self) -> None:
        self._random = random.Random(0)
        self._pool = memoryview(self._random.randbytes(2 * _BLOCK))

    def next(self, size: int) -> memoryview:
        start = self._random.randrange(_BLOCK)
        return self._pool[start : start + size]


def _forget(file: FileIO) -> None:
    """Ask the system to keep nothing of the file in memory; caches below the system are not affected."""
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read(file: FileIO, size: int, clock: Clock) -> float:
    """Return the bytes per second of reading in sequence."""
    _forget(file)
    started, done = clock(), 0
    while done < size and clock() - started < READ_SECONDS:
        found = len(os.pread(file.fileno(), _BLOCK, done))
        assert found, "the file is shorter than what was written"
        done += found
    return done / max(1e-9, clock() - started)


def _latency(file: FileIO, size: int, clock: Clock) -> float:
    """Return the median seconds of small reads at random offsets."""
    _forget(file)
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
    drawn, begun = random.Random(0), clock()
    times: list[float] = []
    while len(times) < RANDOM_READS and (not times or clock() - begun < RANDOM_SECONDS):
        offset = drawn.randrange(size // RANDOM_BYTES) * RANDOM_BYTES
        started = clock()
        os.pread(file.fileno(), RANDOM_BYTES, offset)
        times.append(clock() - started)
    return median(times)


def file_system_of(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the type of a folder's file system, e.g. ext4, nfs4, tmpfs; "unknown" where it is not listed."""
    best, kind = "", "unknown"
    location = str(folder.resolve()).rstrip("/") + "/"
    for line in mounts.read_text().splitlines() if mounts.exists() else ():
        _, point, found, *_ = line.split(" ")
        point = point.replace("\\040", " ").rstrip("/") + "/"
        if location.startswith(point) and len(point) >= len(best):
            best, kind = point, found
    return kind
