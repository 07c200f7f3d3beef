"""What an attacker does to a cache: change anything, then make every digest fit again."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from fdet.cache.format.header import FORMAT
from fdet.cache.format.records import _prefix, samples_name, table_dtype
from fdet.cache.format.sealed import SEAL, digest, sealed_json

from .case import good_of

Edit = Callable[[dict[str, Any]], object]

SHARD = "32x32-0"
LEVELS = ("p3", "p4")
_HASHED_BYTES = 2**26


def forged(folder: Path, store: str = "zarr", name: str = "a.fdet") -> Path:
    """A copy of a good cache, to be spoilt."""
    shutil.copytree(good_of(folder) / f"{store}.fdet", folder / name)
    return folder / name


def resealed(folder: Path, store: str, name: str, **edits: Any) -> Path:
    """A cache of which `reseal` alone changes anything; the other files are the good cache's own."""
    good = good_of(folder) / f"{store}.fdet"
    shutil.copytree(good, folder / name, copy_function=os.link)
    reseal(folder / name, **edits)
    return folder / name


def both_forged(folder: Path) -> tuple[Path, Path]:
    return forged(folder, "zarr", "zarr.fdet"), forged(folder, "hdf5", "hdf5.fdet")


def level_file(root: Path, level: str = "p3", shard: str = SHARD) -> Path:
    bucket, _, number = shard.rpartition("-")
    one_file = root / bucket / f"{number}.h5"
    return one_file if one_file.exists() else root / bucket / level / f"c.{number}.0.0.0"


def content(path: Path) -> dict[str, Any]:
    data = json.loads(path.read_bytes())
    return {name: value for name, value in data.items() if name != SEAL}


def write_sealed(path: Path, data: dict[str, Any]) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(sealed_json(data))


def nothing(data: dict[str, Any]) -> None:
    """No edit."""


def reseal(
    root: Path,
    header: Edit = nothing,
    record: Edit = nothing,
    manifest: Edit = nothing,
    rewrite: Callable[[bytes], bytes] | None = None,
) -> None:
    """Each edit is made just before its file is sealed, so only what it changes can give it away.

    record: of the first shard alone. rewrite: changes its bytes, which only the manifest then seals.
    """
    head = content(root / "fdet.json")
    before = head["id"]
    head["beside"] = {name: _entry(root, name, old) for name, old in head["beside"].items()}
    header(head)
    if head.get("id") == before:
        names = ("store", "dtype", "key", "layout")
        identity = {name: head[name] for name in names if name in head}
        head["id"] = digest({"format": FORMAT, **identity})
    write_sealed(root / "fdet.json", head)
    records = {}
    for path in sorted((root / "commits").glob("*.json")):
        data = content(path)
        data["cache"] = head.get("id")
        data["files"] = {name: _entry(root, name, old) for name, old in data["files"].items()}
        if path.stem == SHARD:
            record(data)
        write_sealed(path, data)
        if path.stem == SHARD and rewrite is not None:
            path.write_bytes(rewrite(path.read_bytes()))
        records[path.stem] = hashlib.sha256(path.read_bytes()).hexdigest()
    whole = content(root / "manifest.json")
    whole.update(header=digest(head), records=records)
    manifest(whole)
    write_sealed(root / "manifest.json", whole)


def _entry(root: Path, name: str, old: dict[str, Any]) -> dict[str, Any]:
    path = root / name
    if not path.is_file():
        return old
    size = path.stat().st_size
    if size > _HASHED_BYTES:
        return {**old, "bytes": size}
    return {"bytes": size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def edit_table(root: Path, edit: Callable[[np.ndarray], object], shard: str = SHARD) -> None:
    """Change rows of samples/<shard>.npy; the digests are for `reseal`."""
    path, dtype = root / samples_name(shard), table_dtype(len(LEVELS))
    raw = path.read_bytes()
    count = (len(raw) - len(_prefix(len(LEVELS), 0))) // dtype.itemsize
    prefix = _prefix(len(LEVELS), count)
    rows = np.frombuffer(raw, dtype, offset=len(prefix)).copy()
    edit(rows)
    path.write_bytes(prefix + rows.tobytes())


def forge_frame(root: Path, frame: bytes, level: int = 0, slot: int = 0) -> None:
    """Let a sample have these bytes for its frame, checksum and digests included."""
    path = level_file(root, LEVELS[level])
    with path.open("ab") as file:
        offset = file.tell()
        file.write(frame)
    place = (offset, len(frame), google_crc32c.value(frame))

    def point(rows: np.ndarray) -> None:
        rows["chunks"][slot, level] = place

    edit_table(root, point)
    reseal(root)
