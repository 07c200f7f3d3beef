"""samples/ and commits/: the table of a shard's samples, and the small record by which the shard exists."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..disk.files import FileEntry, files_from_json, files_to_json, read_below
from ..disk.objects import retry_from_objects
from ..errors import CorruptCache
from ..placement import Placement
from ..wording import counted
from .chunks import Chunk
from .sealed import digest_or_none, parse_json, parse_sealed, sealed_json

OK = "ok"
MAX_RECORD_BYTES = 2**26
MAX_TABLE_BYTES = 2**28
_PLACEMENT = ("image_hw", "canvas_hw", "content_hw", "scale", "shift", "flip")


@dataclass(frozen=True, slots=True)
class SampleEntry:
    """One image under one view.

    status: "ok", or the reason why the image failed; a failed sample keeps its slot and has no maps.
    sha256: the digest of the image file. chunks: the location of each level, with the crc32c of its frame,
    so that a frame that is sound but belongs elsewhere is noticed too. vector: the vector of the image as a
    whole, float32, little-endian; empty where the cache keeps none.
    """

    image_id: int
    view: int
    status: str
    placement: Placement
    sha256: str = ""
    chunks: tuple[Chunk, ...] = ()
    vector: bytes = b""

    @property
    def ok(self) -> bool:
        return self.status == OK


@cache
def table_dtype(levels: int) -> np.dtype[np.void]:
    """Return the type of a row of samples/<shard>.npy.

    Sizes are (rows, columns); scale, shift and flip are (x, y).
    """
    chunk = np.dtype([("offset", "<u8"), ("length", "<u8"), ("crc32c", "<u4")])
    return np.dtype(
        [
            ("image_id", "<i8"),
            ("view", "<i4"),
            ("ok", "u1"),
            ("flip", "u1", (2,)),
            ("sha256", "u1", (32,)),
            ("image_hw", "<i4", (2,)),
            ("canvas_hw", "<i4", (2,)),
            ("content_hw", "<i4", (2,)),
            ("scale", "<f8", (2,)),
            ("shift", "<f8", (2,)),
            ("chunks", chunk, (levels,)),
        ]
    )


class SampleTable:
    """The samples of one shard in the order of their slots, about 170 bytes each on the disk.

    chunks: the offset, length and crc32c of each frame, by slot and level.
    """

    def __init__(self, rows: npt.NDArray[np.void], failures: Mapping[int, str], path: Path) -> None:
        self._rows, self._path = rows, path
        self._failures = failures
        self._placements: dict[int, Placement] = {}
        self.samples: list[tuple[int, int]] = list(
            zip(rows["image_id"].tolist(), rows["view"].tolist(), strict=True)
        )
        self.ok: list[bool] = rows["ok"].astype(bool).tolist()
        self.chunks: list[list[tuple[int, int, int]]] = rows["chunks"].tolist()

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[SampleEntry]:
        return (self.entry(slot) for slot in range(len(self)))

    def shows(self, image_hw: npt.NDArray[np.int64], canvas_hw: tuple[int, int]) -> bool:
        """Return whether the placements are of images of these sizes, (slots, 2), on this canvas."""
        rows = self._rows
        return bool((rows["image_hw"] == image_hw).all() and (rows["canvas_hw"] == canvas_hw).all())

    def failure(self, slot: int) -> str:
        """Return the reason why a sample has no maps."""
        return self._failures.get(slot, "no reason was kept")

    def placement(self, slot: int) -> Placement:
        """Return the placement of a sample. Raises CorruptCache where its row does not describe one."""
        found = self._placements.get(slot)
        if found is None:
            row = self._rows[slot]
            values = {name: tuple(row[name].tolist()) for name in _PLACEMENT}
            values["flip"] = tuple(map(bool, values["flip"]))
            try:
                found = Placement(**values)
            except ValueError as error:
                where = f"{self._path}: image {self.samples[slot][0]}"
                raise CorruptCache(f"{where}: {error}") from error
            self._placements[slot] = found
        return found

    def entry(self, slot: int) -> SampleEntry:
        ok = self.ok[slot]
        image_id, view = self.samples[slot]
        return SampleEntry(
            image_id,
            view,
            OK if ok else self.failure(slot),
            self.placement(slot),
            self._rows["sha256"][slot].tobytes().hex() if self._rows["sha256"][slot].any() else "",
            tuple(Chunk(*chunk) for chunk in self.chunks[slot]) if ok else (),
        )


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """The content of commits/<shard>.json. A shard exists when its record does.

    files: the files of the shard by path below the cache's root: those of the store, samples/<shard>.npy,
    and vectors/<shard>.npy where the cache has vectors. failures: the reason why a sample failed, by slot.
    images: the digest of the image files (content.py), "" in a record of an older fdet that wrote none.
    """

    cache_id: str
    shard: str
    files: Mapping[str, FileEntry]
    samples: int
    failures: Mapping[int, str]
    images: str = ""

    @property
    def failed(self) -> int:
        return len(self.failures)

    def to_bytes(self) -> bytes:
        return sealed_json(
            {
                "cache": self.cache_id,
                "shard": self.shard,
                "files": files_to_json(self.files),
                "samples": self.samples,
                "failures": {str(slot): why for slot, why in self.failures.items()},
                **({"images": self.images} if self.images else {}),
            }
        )

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], path: Path, cache_id: str, shard: str
    ) -> ShardRecord:
        """Make a record from JSON. Raises CorruptCache when it is not that of this shard of this cache."""
        try:
            failures = {int(slot): str(why) for slot, why in data["failures"].items()}
            files = files_from_json(data["files"])
            if type(data["samples"]) is not int:
                raise ValueError(f"samples: expected an integer, got {data['samples']!r}")
            images = digest_or_none(data.get("images", ""))
            record = cls(
                data["cache"], data["shard"], files, int(data["samples"]), failures, images
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise CorruptCache(f"{path}: unreadable record ({error!r})") from error
        if (record.cache_id, record.shard) != (cache_id, shard):
            raise CorruptCache(
                f"{path}: expected the record of shard {shard} of cache {cache_id[:12]}, "
                f"got shard {record.shard} of {str(record.cache_id)[:12]}"
            )
        return record


def record_name(shard: str) -> str:
    """Return the path of a shard's record below the cache's root."""
    return f"commits/{shard}.json"


def samples_name(shard: str) -> str:
    """Return the path of the table of a shard's samples below the cache's root."""
    return f"samples/{shard}.npy"


def samples_to_bytes(entries: Sequence[SampleEntry], levels: int) -> bytes:
    """Return the bytes of samples/<shard>.npy, which `numpy.load` reads."""
    rows = np.zeros(len(entries), table_dtype(levels))
    for row, entry in zip(rows, entries, strict=True):
        placement = entry.placement
        row["image_id"], row["view"], row["ok"] = entry.image_id, entry.view, entry.ok
        row["sha256"] = np.frombuffer(bytes.fromhex(entry.sha256 or "00" * 32), np.uint8)
        for name in _PLACEMENT:
            row[name] = getattr(placement, name)
        if entry.ok:
            row["chunks"] = list(entry.chunks)
    return _prefix(levels, len(entries)) + rows.tobytes()


@cache
def _prefix(levels: int, count: int) -> bytes:
    """Return the header that numpy writes.

    Headers are compared as bytes, so that none that is read from a cache is ever interpreted.
    """
    buffer = io.BytesIO()
    array = np.lib.format.header_data_from_array_1_0(np.zeros(0, table_dtype(levels)))
    np.lib.format.write_array_header_1_0(buffer, {**array, "shape": (count,)})
    return buffer.getvalue()


@retry_from_objects
def read_record(root: Path, cache_id: str, shard: str, sha256: str = "") -> ShardRecord:
    """Read the record of a shard. Raises CorruptCache.

    sha256: the digest of its bytes that the manifest names, "" where there is no manifest.
    """
    name = record_name(shard)
    raw = read_below(root, name, MAX_RECORD_BYTES)
    if not sha256:
        data = parse_sealed(raw, root / name)
    elif hashlib.sha256(raw).hexdigest() == sha256:
        data = parse_json(raw, root / name)
    else:
        raise CorruptCache(f"{root / name}: its bytes are not those that the manifest names")
    return ShardRecord.from_json(data, root / name, cache_id, shard)


@retry_from_objects
def read_samples(root: Path, record: ShardRecord, levels: int, samples: int) -> SampleTable:
    """Read the table of a shard that has `samples` slots. Raises CorruptCache."""
    name = samples_name(record.shard)
    expected = record.files.get(name)
    prefix = _prefix(levels, samples)
    size = len(prefix) + samples * table_dtype(levels).itemsize
    if size > MAX_TABLE_BYTES or expected is None or expected.size != size:
        raise CorruptCache(f"{root / name}: the record of shard {record.shard} names another size")
    raw = read_below(root, name, size)
    if hashlib.sha256(raw).hexdigest() != expected.sha256:
        raise CorruptCache(
            f"{root / name}: its bytes are not those of the record of {record.shard}"
        )
    if not raw.startswith(prefix):
        raise CorruptCache(f"{root / name}: it is not a table of {counted(samples, 'sample')}")
    rows = np.frombuffer(raw, table_dtype(levels), offset=len(prefix))
    return SampleTable(rows, record.failures, root / name)
