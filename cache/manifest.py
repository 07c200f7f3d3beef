"""manifest.json: written after every record it names; a cache that has one is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CorruptCache
from .header import canonical_json, read_json

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
        content = self._content()
        return canonical_json({**content, "sha256": _digest(content)})

    def _content(self) -> dict[str, Any]:
        return {
            "cache": self.cache_id,
            "records": dict(self.records),
            "samples": self.samples,
            "failed": self.failed,
            "bytes": self.stored_bytes,
        }

    @classmethod
    def read(cls, root: Path, cache_id: str) -> Manifest | None:
        """None while the cache is not whole; raises CorruptCache for a damaged or foreign one."""
        path = root / NAME
        if not path.exists():
            return None
        data = read_json(path)
        try:
            manifest = cls(
                data["cache"], data["records"], data["samples"], data["failed"], data["bytes"]
            )
        except KeyError as error:
            raise CorruptCache(f"{path}: field {error} is missing") from error
        if _digest(manifest._content()) != data.get("sha256"):
            raise CorruptCache(f"{path}: it does not match its own digest: it was altered")
        if manifest.cache_id != cache_id:
            raise CorruptCache(f"{path}: it belongs to another cache ({manifest.cache_id[:12]})")
        return manifest


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content)).hexdigest()
