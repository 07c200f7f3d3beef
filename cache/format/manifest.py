"""manifest.json: the list of all records, written after them; a cache that has one is finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..disk.files import is_there
from ..disk.objects import retry_from_objects
from ..errors import CorruptCache
from .header import CacheHeader
from .sealed import digest_or_none, read_sealed, sealed_json

NAME = "manifest.json"
MAX_BYTES = 2**28


class ForeignManifest(CorruptCache):
    """The manifest or the header next to it is of another cache."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The digests of the header and of every record, and sums over the records.

    records: the sha256 of commits/<shard>.json, by shard. stored_bytes: the size of all files that the
    records name. images: the digest of the image files (cache/format/content.py), "" where a record has
    none.
    """

    header: str
    records: Mapping[str, str]
    samples: int
    failed: int
    stored_bytes: int
    images: str = ""

    def to_bytes(self) -> bytes:
        return sealed_json(
            {
                "header": self.header,
                "records": dict(self.records),
                "samples": self.samples,
                "failed": self.failed,
                "bytes": self.stored_bytes,
                **({"images": self.images} if self.images else {}),
            }
        )

    @classmethod
    @retry_from_objects
    def read(cls, root: Path, header: CacheHeader) -> Manifest | None:
        """Read the manifest, or return None while the cache is not finished.

        Raises CorruptCache for a damaged or foreign manifest.
        """
        path = root / NAME
        if not is_there(path):
            return None
        data = read_sealed(root, NAME, MAX_BYTES)
        try:
            counts = data["samples"], data["failed"], data["bytes"]
            if not all(type(count) is int and 0 <= count < 2**63 for count in counts):
                raise ValueError(f"counts {counts}")
            images = digest_or_none(data.get("images", ""))
            manifest = cls(str(data["header"]), dict(data["records"]), *counts, images=images)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptCache(f"{path}: unreadable manifest ({error!r})") from error
        if manifest.header != header.digest:
            raise ForeignManifest(
                f"{path}: it belongs to another cache than fdet.json ({header.id[:12]})"
            )
        if set(manifest.records) != {shard.name for shard in header.layout.shards}:
            raise CorruptCache(f"{path}: it does not name the shards of the header")
        return manifest
