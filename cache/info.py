"""The facts that `fdet cache info` displays: the contents and inputs of a cache, finished or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .disk.sizes import megabytes
from .format.header import CacheHeader
from .format.manifest import Manifest
from .format.records import record_name
from .layout import Layout
from .windows import split_name
from .wording import counted


def facts_of(root: Path) -> dict[str, Any]:
    """Return facts as values for JSON, sizes in bytes and px. Raises InputError, CorruptCache.

    Of an unfinished cache, `samples` and what follows it are absent.
    """
    header = CacheHeader.read(root)
    manifest = Manifest.read(root, header)
    key, layout = header.key, header.layout
    done = len(layout.shards) if manifest is not None else _written(root, header)
    facts: dict[str, Any] = {
        "id": header.id,
        "state": "unfinished" if manifest is None else "whole",
        "shards": len(layout.shards),
        "shards_done": done,
        "images": len(layout.images),
        **_cut(layout),
        "views": list(layout.views),
        "resize": {name: getattr(key, name) for name in ("short", "long", "square", "divisor")},
        "canvases": [
            {"name": b.name, "hw": list(b.canvas_hw), "images": len(b.images)}
            for b in layout.buckets
        ],
        "levels": [asdict(level) for level in key.levels.levels],
        "image_vector": asdict(key.image_vector) if key.image_vector else None,
        "backbone": {
            "name": key.backbone,
            "parameters": header.backbone.get("parameters"),
            "weights": key.weights_origin,
            "sha256": key.weights_sha256,
        },
        "bits": key.bits,
        "precision": key.precision,
        "batch_size": key.batch_size,
        "device": key.device,
        "threads": key.threads,
        "codec": key.codec,
        "converted": list(key.converted),
        "store": header.store,
    }
    if manifest is not None:
        good = manifest.samples - manifest.failed
        facts |= {
            "image_files": manifest.images,
            "samples": manifest.samples,
            "failed": manifest.failed,
            "bytes": manifest.stored_bytes,
            "sample_bytes": round(manifest.stored_bytes / max(good, 1)),
        }
    return facts


def describe(root: Path) -> dict[str, Any]:
    """Return facts in words by name, in the order in which to display them; raises as `facts_of` does."""
    return described(facts_of(root))


def described(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `facts_of` in words, by name, in the order in which to display them."""
    backbone, vector = facts["backbone"], facts["image_vector"]
    lines: dict[str, Any] = {
        "id": facts["id"][:16],
        "state": _state(facts),
        "images": _images(facts),
        "views": ", ".join(facts["views"]),
        "resize": _resize(facts["resize"]),
        "canvases": ", ".join(
            f"{b['name']} ({counted(b['images'], 'image')})" for b in facts["canvases"]
        ),
        "levels": ", ".join(
            f"{v['name']} (stride {v['stride']}, {v['channels']} channels)" for v in facts["levels"]
        ),
        **({"image vector": f"{vector['kind']}({vector['channels']} ch)"} if vector else {}),
        "backbone": f"{backbone['name']}, {backbone['weights']} weights {backbone['sha256'][:12]}",
        **({"deep pixels": f"read as {facts['bits']} bits"} if facts["bits"] else {}),
        "precision": f"{facts['precision']}, batch {facts['batch_size']}, {_device(facts)}",
        "codec": " <- ".join([facts["codec"], *reversed(facts["converted"])]),
        "store": facts["store"],
    }
    if "samples" in facts:
        lines["image files"] = facts["image_files"][:16] or "no digest: made by an older fdet"
        lines["samples"] = facts["samples"]
        lines["failed"] = facts["failed"]
        lines["size"] = megabytes(facts["bytes"])
        lines["a sample"] = megabytes(facts["sample_bytes"], 3)
    return lines


def _cut(layout: Layout) -> dict[str, int]:
    """Return of how many files the images are tiles; nothing where none is a tile."""
    names = [split_name(image.file_name) for image in layout.images]
    tiled = any(window is not None for _, window in names)
    return {"cut_from": len({name for name, _ in names})} if tiled else {}


def _images(facts: Mapping[str, Any]) -> str | int:
    count: int = facts["images"]
    if "cut_from" not in facts:
        return count
    return f"{counted(count, 'tile')} of {counted(facts['cut_from'], 'image')}"


def _resize(rule: Mapping[str, Any]) -> str:
    if rule["square"]:
        return f"to a square of {rule['long']} px (--size {rule['long']})"
    return (
        f"shorter side {rule['short']} px, longer side at most {rule['long']} px (--short {rule['short']} "
        f"--long {rule['long']}), padded to multiples of {rule['divisor']}"
    )


def _device(facts: Mapping[str, Any]) -> str:
    threads = facts["threads"]
    return f"{facts['device']}, {counted(threads, 'thread')}" if threads else str(facts["device"])


def _state(facts: Mapping[str, Any]) -> str:
    if facts["state"] == "whole":
        return "whole"
    return (
        f"unfinished: {facts['shards_done']} of {counted(facts['shards'], 'shard')}; the "
        "command that made it goes on where it stopped"
    )


def _written(root: Path, header: CacheHeader) -> int:
    """Return the number of shards that have a record."""
    return sum((root / record_name(shard.name)).exists() for shard in header.layout.shards)
