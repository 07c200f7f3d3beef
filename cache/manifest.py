"""manifest.json: written after every record it names; a cache that has one is whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import CorruptCache
from .header import check_seal, read_json, sealed_json

NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The digest of every record, and the sums over them.

    records: sha256 of commits/<shard>.json by shard. stored_bytes: of all files that the records name.
    """

    cache_id: str
    records: Mapping[str, str]
    samples: int
    failed: int
    stored_bytes: int

    def to_bytes(self) -> bytes:
        return sealed_json(
            {
                "cache": self.cache_id,
                "records": dict(self.records),
                "samples": self.samples,
                "failed": self.failed,
                "bytes": self.stored_bytes,
            }
        )

    @classmethod
    def read(cls, root: Path, cache_id: str) -> Manifest | None:
        """None while the cache is not whole; raises CorruptCache for a damaged or foreign one."""
        path = root / NAME
        if not path.exists():
            return None
        data = read_json(path)
        check_seal(data, path)
        try:
            manifest = cls(
                data["cache"], data["records"], data["samples"], data["failed"], data["bytes"]
            )
        except KeyError as error:
            raise CorruptCache(f"{path}: field {error} is missing") from error
        if manifest.cache_id != cache_id:
            raise CorruptCache(f"{path}: it belongs to another cache ({manifest.cache_id[:12]})")
        return manifest
