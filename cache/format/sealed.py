"""fdet's JSON files: their canonical bytes, and a digest of all their content."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..disk.files import read_below
from ..errors import CorruptCache

SEAL = "sha256"
# An empty list takes three bytes in a file and sixty in memory.
MAX_CONTAINERS = 2**23


def canonical_json(value: Any) -> bytes:
    """Return the same bytes for the same value: sorted keys, no spaces, no NaN, and a line end."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


def digest(content: Mapping[str, Any]) -> str:
    """Return the sha256 of the canonical bytes."""
    return hashlib.sha256(canonical_json(content)).hexdigest()


def sealed_json(content: Mapping[str, Any]) -> bytes:
    """Return canonical_json with one more field, "sha256", the digest of all others."""
    return canonical_json({**content, SEAL: digest(content)})


def digest_or_none(value: Any) -> str:
    """Return 64 hexadecimal digits, or "" for none, unchanged. Raises ValueError for anything else."""
    if not isinstance(value, str) or not re.fullmatch("(?:[0-9a-f]{64})?", value):
        raise ValueError(f"expected a sha256, got {value!r}")
    return value


def read_sealed(root: Path, name: str, limit: int) -> dict[str, Any]:
    """Read a file that `sealed_json` made, of at most `limit` bytes. Raises CorruptCache."""
    return parse_sealed(read_below(root, name, limit), root / name)


def parse_sealed(raw: bytes, path: Path) -> dict[str, Any]:
    """Return the content of bytes that `sealed_json` made, read from `path`. Raises CorruptCache."""
    data = parse_json(raw, path)
    try:
        holds = sealed_json({k: v for k, v in data.items() if k != SEAL}) == raw
    except (ValueError, RecursionError):  # a number beyond the range of floats
        holds = False
    if not holds:
        raise CorruptCache(f"{path}: it does not match its own digest: it was altered")
    return data


def parse_json(raw: bytes, path: Path) -> dict[str, Any]:
    """Return the JSON object in bytes from `path`. Raises CorruptCache where they are not one."""
    if raw.count(b"[") + raw.count(b"{") > MAX_CONTAINERS:
        raise CorruptCache(f"{path}: more lists and objects than any cache has")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CorruptCache(f"{path}: not JSON ({error})") from error
    if not isinstance(data, dict):
        raise CorruptCache(f"{path}: expected an object, got {type(data).__name__}")
    return data
