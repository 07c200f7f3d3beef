"""annotations.json.zst: the annotation file that a cache was made with, so that the cache can travel."""

from __future__ import annotations

from pathlib import Path

import zstandard

from .errors import CorruptCache
from .publish import publish_bytes

NAME = "annotations.json.zst"
MAX_BYTES = 2**32


def write_annotations(root: Path, raw: bytes) -> None:
    """Keep the file's bytes, compressed; what is kept already stays."""
    if not (root / NAME).exists():
        compressor = zstandard.ZstdCompressor(level=9, write_checksum=True)
        publish_bytes(root / NAME, compressor.compress(raw))


def read_annotations(root: Path) -> bytes:
    """The bytes of the file; raises CorruptCache."""
    path = root / NAME
    try:
        compressed = path.read_bytes()
        size = zstandard.frame_content_size(compressed)
        # A frame may claim any size, and zstandard believes it.
        if not 0 <= size <= MAX_BYTES:
            raise CorruptCache(f"{path}: it claims {size} bytes; give --annotations FILE instead")
        return zstandard.ZstdDecompressor().decompress(compressed)
    except (OSError, zstandard.ZstdError) as error:
        raise CorruptCache(f"{path}: {error}; give --annotations FILE instead") from error
