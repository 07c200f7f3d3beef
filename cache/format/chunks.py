"""The form of a sample's map at one level on the disk: one zstd frame and its crc32c.

Both stores keep this frame, each followed by a trailer of the store, so the same code reads both and a
frame moves from cache to cache unchanged.
"""

from __future__ import annotations

from typing import NamedTuple

import google_crc32c
import numpy as np
import numpy.typing as npt
import zstandard

Array = npt.NDArray[np.generic]

ZSTD_LEVEL = 1
MAX_SAMPLE_BYTES = 2**30


class Frame(NamedTuple):
    """Compressed bytes and their crc32c."""

    data: bytes
    crc32c: int


class Chunk(NamedTuple):
    """The location of a frame in its file, and its crc32c."""

    offset: int
    length: int
    crc32c: int


class DamagedFrame(ValueError):
    """A frame is not what was written; the message says in what way."""


def compress(sample: Array) -> Frame:
    """Compress a stored map into its frame. This is safe in threads and releases Python's lock."""
    raw = np.ascontiguousarray(sample, dtype=sample.dtype.newbyteorder("<"))
    data = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(raw.data.cast("B"))
    return Frame(data, int(google_crc32c.value(data)))


def compress_bound(raw_bytes: int) -> int:
    """Return the maximum size in bytes of a frame that holds `raw_bytes`."""
    return raw_bytes + (raw_bytes >> 7) + 1024


def check_frame(data: bytes, length: int, crc32c: int) -> None:
    """Check the length and the checksum of a frame. Raises DamagedFrame."""
    if len(data) != length:
        raise DamagedFrame(f"{len(data)} of its {length} bytes are there")
    if google_crc32c.value(data) != crc32c:
        raise DamagedFrame("its checksum does not hold")


def check_whole_frame(data: bytes, length: int, crc32c: int, raw_bytes: int) -> None:
    """Check a frame as `check_frame` does, and that it declares `raw_bytes`. Raises DamagedFrame."""
    check_frame(data, length, crc32c)
    try:
        if zstandard.frame_content_size(data) != raw_bytes:
            raise DamagedFrame(f"it does not decompress to {raw_bytes} bytes")
    except zstandard.ZstdError as error:
        raise DamagedFrame(str(error)) from error


def decompress(
    decompressor: zstandard.ZstdDecompressor, data: bytes, length: int, crc32c: int, raw_bytes: int
) -> bytes:
    """Check a frame and return its raw bytes. Raises DamagedFrame."""
    if len(data) != length or google_crc32c.value(data) != crc32c:
        check_frame(data, length, crc32c)
    try:
        # zstandard ignores max_output_size for a frame that declares its size, so it is compared first.
        if zstandard.frame_content_size(data) != raw_bytes:
            raise DamagedFrame(f"it does not decompress to {raw_bytes} bytes")
        return decompressor.decompress(data)
    except zstandard.ZstdError as error:
        raise DamagedFrame(str(error)) from error
