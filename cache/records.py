"""samples/ and commits/: what a shard holds, and the small record by which it exists."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import CorruptCache
from .header import canonical_json, check_seal, parse_json, sealed_json
from .placement import Placement

OK = "ok"


@dataclass(frozen=True, slots=True)
class SampleEntry:
    """One image under one view.

    status: "ok", or why the image failed; a failed sample keeps its slot and has no maps.
    sha256: of the image file. checksums: crc32c of the stored chunk of each level, so that a chunk
    that is sound but belongs elsewhere is found too.
    """

    image_id: int
    view: int
    status: str
    sha256: str = ""
    placement: Placement | None = None
    checksums: tuple[int, ...] = ()

    @property
    def ok(self) -> bool:
        return self.status == OK

    def to_json(self) -> dict[str, Any]:
        return {
            "image_id": self.image_id,
            "view": self.view,
            "status": self.status,
            "sha256": self.sha256,
            "placement": self.placement.to_json() if self.placement else None,
            "checksums": list(self.checksums),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SampleEntry:
        placement = Placement.from_json(data["placement"]) if data["placement"] else None
        checksums = tuple(data["checksums"])
        return cls(
            data["image_id"], data["view"], data["status"], data["sha256"], placement, checksums
        )


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Length and sha256 of one file of a shard."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """commits/<shard>.json. A shard is there when its record is.

    files: by path below the cache's root: one a level, and samples/<shard>.json.
    """

    cache_id: str
    shard: str
    files: Mapping[str, FileEntry]
    samples: int
    failed: int

    def to_bytes(self) -> bytes:
        files = {path: {"bytes": f.bytes, "sha256": f.sha256} for path, f in self.files.items()}
        return sealed_json(
            {
                "cache": self.cache_id,
                "shard": self.shard,
                "files": files,
                "samples": self.samples,
                "failed": self.failed,
            }
        )

    @classmethod
    def from_bytes(cls, raw: bytes, path: Path, cache_id: str, shard: str) -> ShardRecord:
        """Raises CorruptCache when it is not the record of this shard of this cache."""
        data = parse_json(raw, path)
        check_seal(data, path)
        try:
            files = {name: FileEntry(f["bytes"], f["sha256"]) for name, f in data["files"].items()}
            record = cls(data["cache"], data["shard"], files, data["samples"], data["failed"])
        except (KeyError, TypeError, AttributeError) as error:
            raise CorruptCache(f"{path}: unreadable record ({error!r})") from error
        if (record.cache_id, record.shard) != (cache_id, shard):
            raise CorruptCache(
                f"{path}: expected the record of shard {shard} of cache {cache_id[:12]}, "
                f"got shard {record.shard} of {record.cache_id[:12]}"
            )
        if outside := [name for name in files if not _is_below(name)]:
            raise CorruptCache(f"{path}: {outside[0]!r} leaves the folder of the cache")
        return record


def _is_below(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def record_path(root: Path, shard: str) -> Path:
    """Where a shard's record stands."""
    return root / "commits" / f"{shard}.json"


def samples_path(root: Path, shard: str) -> Path:
    """Where the list of a shard's samples stands."""
    return root / "samples" / f"{shard}.json"


def samples_to_bytes(cache_id: str, shard: str, entries: Sequence[SampleEntry]) -> bytes:
    """samples/<shard>.json, in the order of the slots."""
    return canonical_json(
        {"cache": cache_id, "shard": shard, "samples": [entry.to_json() for entry in entries]}
    )


def read_samples(root: Path, record: ShardRecord) -> tuple[SampleEntry, ...]:
    """The samples of a shard in the order of their slots; raises CorruptCache."""
    path = samples_path(root, record.shard)
    raw = read_committed(root, record, path)
    try:
        return tuple(SampleEntry.from_json(v) for v in parse_json(raw, path)["samples"])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptCache(f"{path}: unreadable samples ({error!r})") from error


def read_committed(root: Path, record: ShardRecord, path: Path) -> bytes:
    """A small file of a shard, checked against the record; raises CorruptCache."""
    expected = record.files.get(path.relative_to(root).as_posix())
    if expected is None:
        raise CorruptCache(f"{path}: not named by the record of shard {record.shard}")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CorruptCache(f"{path}: {error.strerror}; shard {record.shard} names it") from error
    if hashlib.sha256(raw).hexdigest() != expected.sha256:
        raise CorruptCache(f"{path}: its bytes are not those of the record of {record.shard}")
    return raw
