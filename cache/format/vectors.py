"""vectors/<shard>.npy: for each slot of a shard one vector of the image as a whole, float32 as computed.

Like the table of samples, the file is small compared with the maps. It is read as a whole at first use and
checked against the sha256 in the shard's record, so no value is ever used unchecked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..disk.files import float_array_head, read_below
from ..disk.objects import retry_from_objects
from ..errors import CorruptCache
from ..pyramid import VectorSpec
from .records import ShardRecord

MAX_BYTES = 2**30

Vectors = npt.NDArray[np.float32]


def vectors_name(shard: str) -> str:
    """Return the path of a shard's vectors below the cache's root."""
    return f"vectors/{shard}.npy"


def vectors_to_bytes(vectors: Sequence[bytes], channels: int) -> bytes:
    """Return the bytes of vectors/<shard>.npy, which `numpy.load` reads.

    vectors: the bytes of each vector, float32, little-endian; empty where the sample failed.
    """
    absent = np.full(channels, np.nan, "<f4").tobytes()
    return float_array_head((len(vectors), channels)) + b"".join(v or absent for v in vectors)


@retry_from_objects
def read_vectors(root: Path, record: ShardRecord, ok: Sequence[bool], spec: VectorSpec) -> Vectors:
    """Read the vectors of a shard, (slots, C), read-only, NaN where a sample failed.

    ok: whether the sample of each slot has maps. Raises CorruptCache.
    """
    name = vectors_name(record.shard)
    expected = record.files.get(name)
    head = float_array_head((len(ok), spec.channels))
    size = len(head) + len(ok) * spec.nbytes
    if expected is None or expected.size != size:
        raise CorruptCache(f"{root / name}: the record of shard {record.shard} names another size")
    raw = read_below(root, name, size)
    if hashlib.sha256(raw).hexdigest() != expected.sha256:
        raise CorruptCache(
            f"{root / name}: its bytes are not those of the record of {record.shard}"
        )
    if not raw.startswith(head):
        raise CorruptCache(f"{root / name}: it is not {len(ok)} vectors of {spec.channels} numbers")
    vectors = np.frombuffer(raw, "<f4", offset=len(head)).reshape(len(ok), spec.channels)
    sound = np.where(ok, np.isfinite(vectors).all(axis=1), np.isnan(vectors).all(axis=1))
    if not sound.all():
        slot = int(np.argmin(sound))
        why = "is not finite" if ok[slot] else "is there although the sample failed"
        raise CorruptCache(f"{root / name}: the vector of slot {slot} {why}")
    return vectors
