"""Frames that are kept and looked for; as a program, by one process of several. Imports little."""

import sys
from contextlib import suppress
from pathlib import Path
from random import Random

import google_crc32c

from fdet.cache.disk.nearby import NearbyFrames

LIMIT = 30_000


def frame(number: int, size: int = 1000) -> tuple[str, bytes, int]:
    data = Random(number).randbytes(size)
    return f"frame {number}", data, int(google_crc32c.value(data))


def kept_bytes(folder: Path) -> int:
    total = 0
    for path in folder.glob("??/*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def fill(folder: Path, start: int) -> int:
    """The most bytes that were there at once."""
    frames, most = NearbyFrames(folder, LIMIT), 0
    for number in range(start, start + 60):
        frames.keep(*frame(number % 80)[:2])
        label, data, crc = frame((number * 7) % 80)
        assert frames.get(label, len(data), crc) in (None, data)
        with frames._total():  # nobody adds or evicts while they are counted
            most = max(most, kept_bytes(folder))
    return most


if __name__ == "__main__":
    print(fill(Path(sys.argv[1]), int(sys.argv[2])))
