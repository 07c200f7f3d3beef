"""The facts that `fdet cache info` displays: the contents and inputs of a cache, finished or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .format.header import CacheHeader
from .format.manifest import Manifest
from .format.records import record_name


def describe(root: Path) -> dict[str, Any]:
    """Return facts by name, in the order in which to display them. Raises InputError, CorruptCache."""
    header = CacheHeader.read(root)
    manifest = Manifest.read(root, header)
    key, layout = header.key, header.layout
    images = len(layout.images)
    facts: dict[str, Any] = {
        "id": header.id[:16],
        "state": _state(root, header, manifest),
        "images": images,
        "views": ", ".join(layout.views),
        "canvases": ", ".join(f"{b.name} ({len(b.images)} images)" for b in layout.buckets),
        "levels": ", ".join(
            f"{v.name} (stride {v.stride}, {v.channels} channels)" for v in key.levels.levels
        ),
        **({"image vector": str(key.image_vector)} if key.image_vector else {}),
        "backbone": f"{key.backbone}, {key.weights_origin} weights {key.weights_sha256[:12]}",
        **({"deep pixels": f"read as {key.bits} bits"} if key.bits else {}),
        "precision": f"{key.precision}, batch {key.batch_size}, {_device(header)}",
        "codec": " <- ".join([key.codec, *reversed(key.converted)]),
        "store": header.store,
    }
    if manifest is not None:
        facts["image files"] = manifest.images[:16] or "no digest: made by an older fdet"
        facts["samples"] = manifest.samples
        facts["failed"] = manifest.failed
        facts["size"] = f"{manifest.stored_bytes / 1e6:.1f} MB"
        good = manifest.samples - manifest.failed
        facts["a sample"] = f"{manifest.stored_bytes / max(good, 1) / 1e6:.3f} MB"
    return facts


def _device(header: CacheHeader) -> str:
    key = header.key
    return f"{key.device}, {key.threads} threads" if key.threads else key.device


def _state(root: Path, header: CacheHeader, manifest: Manifest | None) -> str:
    if manifest is not None:
        return "whole"
    shards = header.layout.shards
    done = sum((root / record_name(shard.name)).exists() for shard in shards)
    return f"unfinished: {done} of {len(shards)} shards; the command that made it goes on where it stopped"
