"""fdet.json: what a cache is made of; written once, before anything else, and never changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import CorruptCache, InputError
from .key import CacheKey
from .layout import Layout

FORMAT = 1
NAME = "fdet.json"


@dataclass(frozen=True)
class CacheHeader:
    """The key, the layout, and what a reader must know to decode.

    dtype: numpy's name of the stored type. backbone: facts worth keeping beside the key
    (parameters, FLOPs of one canvas of each bucket); they take no part in the id.
    """

    key: CacheKey
    layout: Layout
    dtype: str
    backbone: Mapping[str, Any]
    store: str = "zarr"

    @cached_property
    def id(self) -> str:
        """Digest of everything that decides which bytes the finished cache holds."""
        return _digest(self._identity())

    def _identity(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "store": self.store,
            "dtype": self.dtype,
            "key": self.key.to_json(),
            "layout": self.layout.to_json(),
        }

    def to_bytes(self) -> bytes:
        content = {"id": self.id, **self._identity(), "backbone": dict(self.backbone)}
        return sealed_json(content)

    @classmethod
    def read(cls, root: Path) -> CacheHeader:
        """Raises InputError where no cache is, CorruptCache where fdet.json is damaged."""
        path = root / NAME
        if not path.is_file():
            raise InputError(
                f"{root} is not a cache: it has no {NAME}; make one with `fdet extract`"
            )
        data = read_json(path)
        if data.get("format") != FORMAT:
            raise InputError(
                f"{path}: format {data.get('format')}; this fdet reads format {FORMAT}"
            )
        check_seal(data, path)
        try:
            key, layout = CacheKey.from_json(data["key"]), Layout.from_json(data["layout"])
            header = cls(key, layout, data["dtype"], data["backbone"], data["store"])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise CorruptCache(f"{path}: unreadable header ({error!r})") from error
        if header.id != data.get("id"):
            raise CorruptCache(f"{path}: its id is not that of its key and layout")
        return header


def canonical_json(value: Any) -> bytes:
    """The same bytes for the same value: sorted keys, no spaces, no NaN, a line end."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


def sealed_json(content: Mapping[str, Any]) -> bytes:
    """canonical_json with one more field, "sha256": the digest of all others."""
    return canonical_json({**content, "sha256": _digest(content)})


def check_seal(data: Mapping[str, Any], path: Path) -> None:
    """Raises CorruptCache where what stood in `path` is not what `sealed_json` wrote there."""
    content = {name: value for name, value in data.items() if name != "sha256"}
    try:
        holds = _digest(content) == data.get("sha256")
    except ValueError:  # a number beyond the range of floats
        holds = False
    if not holds:
        raise CorruptCache(f"{path}: it does not match its own digest: it was altered")


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content)).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of ours; raises CorruptCache where it is not one."""
    try:
        return parse_json(path.read_bytes(), path)
    except OSError as error:
        raise CorruptCache(f"{path}: {error.strerror}") from error


def parse_json(raw: bytes, path: Path) -> dict[str, Any]:
    """A JSON object from bytes that stood in `path`; raises CorruptCache where they are not one."""
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CorruptCache(f"{path}: not JSON ({error})") from error
    if not isinstance(data, dict):
        raise CorruptCache(f"{path}: expected an object, got {type(data).__name__}")
    return data
