"""The sha256 of the image files that a cache's features were computed from, and one digest of them all.

The id of a cache depends on the names and sizes of images, not on their pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from .header import CacheHeader
from .records import SampleEntry, ShardRecord, read_samples

_MODULUS = 2**256


def digest_of_images(files: Mapping[int, str]) -> str:
    """Return a digest of image files, 64 hexadecimal digits.

    It is a sum over the images, so that it depends neither on their order nor on their distribution over
    shards. files: the sha256 of each image's file, by image id.
    """
    return _as_text(sum(_number(image_id, sha256) for image_id, sha256 in files.items()))


def digest_of_parts(digests: Iterable[str]) -> str:
    """Return the digest of all images together, from the digests of parts that have none in common."""
    return _as_text(sum(int(digest, 16) for digest in digests))


def _number(image_id: int, sha256: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{image_id} {sha256}".encode()).digest())


def _as_text(number: int) -> str:
    return f"{number % _MODULUS:064x}"


def files_of(entries: Iterable[SampleEntry]) -> dict[int, str]:
    """Return the sha256 of each image's file, by image id; "" for a file that could not be read."""
    return {entry.image_id: entry.sha256 for entry in entries}


def image_files(root: Path, header: CacheHeader, records: Iterable[ShardRecord]) -> dict[int, str]:
    """Read the same for the shards of some records, from their tables. Raises CorruptCache."""
    shards = {shard.name: shard for shard in header.layout.shards}
    levels = len(header.key.levels.levels)
    found: dict[int, str] = {}
    for record in records:
        slots = len(shards[record.shard].images) * len(header.layout.views)
        found |= files_of(read_samples(root, record, levels, slots))
    return found
