"""annotations.json.zst: the annotation file of a cache, which it keeps so that it can travel."""

from __future__ import annotations

import hashlib
from pathlib import Path

import zstandard

from ..disk.files import read_below
from ..disk.objects import retry_from_objects
from ..errors import CorruptCache
from .header import CacheHeader

NAME = "annotations.json.zst"
MAX_BYTES = 2**32
MAX_COMPRESSED_BYTES = 2**28
# JSON shrinks ten to twenty times, a decompression bomb thirty thousand times.
MAX_RATIO = 500


def annotations_to_bytes(raw: bytes) -> bytes:
    """Compress the bytes of an annotation file."""
    return zstandard.ZstdCompressor(level=9, write_checksum=True).compress(raw)


@retry_from_objects
def read_annotations(root: Path, header: CacheHeader) -> bytes:
    """Read the bytes of the annotation file. Raises CorruptCache."""
    path, expected = root / NAME, header.other_files.get(NAME)
    try:
        if expected is None:
            raise CorruptCache(f"{path}: the header does not name it")
        compressed = read_below(root, NAME, min(expected.size, MAX_COMPRESSED_BYTES))
        if hashlib.sha256(compressed).hexdigest() != expected.sha256:
            raise CorruptCache(f"{path}: its bytes are not those that the header names")
        # A frame may claim any size, and zstandard trusts it.
        size = zstandard.frame_content_size(compressed)
        if not 0 <= size <= min(MAX_BYTES, 2**20 + MAX_RATIO * len(compressed)):
            raise CorruptCache(f"{path}: it claims {size} bytes")
        return zstandard.ZstdDecompressor().decompress(compressed)
    except (zstandard.ZstdError, MemoryError) as error:
        raise CorruptCache(f"{path}: {error}") from error
