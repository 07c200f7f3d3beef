"""The watching of runs: their folders are read every few seconds, and the page is written anew."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from ....cache.disk.publish import publish_bytes
from ....cache.errors import FdetError
from ...runs.finding import find_runs
from .page import page
from .readings import Reader, Reading

log = logging.getLogger(__name__)

# The maximum number of runs on a page: those that were changed last.
RUNS = 60
# s: how soon Ctrl-C is noticed.
_PATIENCE = 0.2


def write_once(paths: Sequence[Path], out: Path, every: float | None) -> int:
    """Write the page, and return how many runs are in it.

    every: after how many seconds the browser reads it again, None for never. Raises InputError, StorageError.
    """
    readings = _readings(paths, Reader(time.time))
    _write(readings, out, every)
    return len(readings)


def watch(paths: Sequence[Path], out: Path, every: float, stop_requests: Sequence[float]) -> None:
    """Write the page every few seconds until a stop is requested; the last one is not read again.

    What cannot be read or written is tried again the next time; a warning says so once.
    """
    reader, numbers, warned = Reader(time.time), dict[Path, int](), ""
    while not stop_requests:
        try:
            readings = _readings(paths, reader)
            for reading in readings:  # A run keeps its colour, whatever appears beside it.
                numbers.setdefault(reading.folder, len(numbers))
            readings.sort(key=lambda reading: numbers[reading.folder])
            _write(readings, out, every)
        except FdetError as error:
            if str(error) != warned:
                log.warning("%s; it is tried again", error)
            warned = str(error)
        due = time.monotonic() + every
        while time.monotonic() < due and not stop_requests:
            time.sleep(_PATIENCE)
    _write(_readings(paths, reader), out, None)


def _readings(paths: Sequence[Path], reader: Reader) -> list[Reading]:
    readings = [reader.read(run) for run in find_runs(paths, quiet=True, may_be_empty=True)]
    newest = {r.folder for r in sorted(readings, key=lambda r: -r.changed)[:RUNS]}
    return [reading for reading in readings if reading.folder in newest]


def _write(readings: Sequence[Reading], out: Path, every: float | None) -> None:
    publish_bytes(out, page(readings, time.time(), every).encode(), existing="replace")
