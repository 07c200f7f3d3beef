"""fdet.json: the header of a cache, which is written once, before anything else, and never changed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..codecs.form import StoredForm, parse_form
from ..disk.files import FileEntry, files_from_json, files_to_json, is_there, read_below
from ..disk.objects import retry_from_objects
from ..errors import CorruptCache, InputError
from ..key import CacheKey
from ..layout import Bucket, Layout
from ..once import Once
from ..pyramid import LevelSpec
from . import vectors as vectors_file
from .chunks import MAX_SAMPLE_BYTES
from .sealed import canonical_json, digest, parse_json, parse_sealed, sealed_json

FORMAT = 3
STORE_NAMES = ("zarr", "hdf5")
NAME = "fdet.json"
MAX_BYTES = 2**28
# The facts about a backbone are two numbers, and one more for each canvas.
MAX_FACTS_BYTES = 2**22


@dataclass(frozen=True)
class CacheHeader:
    """The key, the layout, and everything else that a reader must know to decode.

    backbone: facts that are kept in addition to the key (parameters, FLOPs of one canvas of each bucket).
    other_files: the digests of the files next to the shards, by path. Neither takes part in the id.
    """

    key: CacheKey
    layout: Layout
    backbone: Mapping[str, Any]
    store: str = "zarr"
    other_files: Mapping[str, FileEntry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.backbone, Mapping):
            raise ValueError(f"backbone: expected an object, got {self.backbone!r}")
        if len(canonical_json(dict(self.backbone))) > MAX_FACTS_BYTES:
            raise ValueError(f"backbone: expected at most {MAX_FACTS_BYTES} bytes of facts")
        if bool(self.key.calibration) != self.form.calibrated:
            raise ValueError(f"calibration {self.key.calibration!r} for codec {self.form.name}")
        for name in self.key.converted:
            parse_form(name)
        if self.key.views != self.layout.views:
            raise ValueError(
                f"views {self.key.views} in the key, {self.layout.views} in the layout"
            )
        for bucket in self.layout.buckets:
            # Counted as decoded float32, which no stored form exceeds: a few components may stand for
            # many channels.
            shapes = [level.shape(bucket.canvas_hw) for level in self.key.levels.levels]
            largest = sum(4 * math.prod(shape) for shape in shapes)
            if largest > MAX_SAMPLE_BYTES:
                raise ValueError(
                    f"a sample of bucket {bucket.name} would have {largest} bytes, and may have "
                    f"{MAX_SAMPLE_BYTES}"
                )
            if self.layout.slots(bucket) * self.vector_bytes > vectors_file.MAX_BYTES:
                raise ValueError(f"the vectors of a shard of bucket {bucket.name} are too many")

    @Once
    def form(self) -> StoredForm:
        """Return the form in which the maps are kept. Raises ValueError for an unknown codec."""
        return parse_form(self.key.codec)

    @property
    def dtype(self) -> str:
        """The stored type, by its name in numpy."""
        return self.form.dtype

    @Once
    def id(self) -> str:
        """Return the digest of everything that decides which bytes the finished cache holds."""
        return digest(self._identity())

    @Once
    def digest(self) -> str:
        """Return the digest of everything in the header, which the manifest names."""
        return digest(self._content())

    def _identity(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "store": self.store,
            "dtype": self.dtype,
            "key": self.key.to_json(),
            "layout": self.layout.to_json(),
        }

    def _content(self) -> dict[str, Any]:
        about = {"backbone": dict(self.backbone), "beside": files_to_json(self.other_files)}
        return {"id": self.id, **self._identity(), **about}

    def stored_shape(self, level: LevelSpec, bucket: Bucket) -> tuple[int, int, int]:
        """Return the shape of the array in which one sample is kept at one level."""
        return self.form.shape(level.shape(bucket.canvas_hw))

    def raw_bytes(self, level: LevelSpec, bucket: Bucket) -> int:
        """Return the size in bytes of one sample at one level before compression."""
        return math.prod(self.stored_shape(level, bucket)) * np.dtype(self.dtype).itemsize

    @property
    def vector_bytes(self) -> int:
        """The size in bytes of one image's vector, 0 where the cache keeps none."""
        return self.key.image_vector.nbytes if self.key.image_vector else 0

    def to_bytes(self) -> bytes:
        return sealed_json(self._content())

    @classmethod
    @retry_from_objects
    def read(cls, root: Path) -> CacheHeader:
        """Read the header below `root`.

        Raises InputError where there is no cache, or one of another format, and CorruptCache where
        fdet.json is damaged.
        """
        path = root / NAME
        raw, _ = _read_json(root)
        data = parse_sealed(raw, path)
        if data.get("store") not in STORE_NAMES:
            known = ", ".join(STORE_NAMES)
            raise CorruptCache(f"{path}: unknown store {data.get('store')!r}; known: {known}")
        try:
            key, layout = CacheKey.from_json(data["key"]), Layout.from_json(data["layout"])
            other_files = files_from_json(data["beside"])
            header = cls(key, layout, data["backbone"], data["store"], other_files)
            if header.dtype != data["dtype"]:
                raise ValueError(f"stored type {data['dtype']!r} for codec {key.codec}")
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise CorruptCache(f"{path}: unreadable header ({error!r})") from error
        if header.id != data.get("id"):
            raise CorruptCache(f"{path}: its id is not that of its key and layout")
        return header


@retry_from_objects
def read_key(root: Path) -> CacheKey:
    """Read only the key of the cache below `root`, which is quick for any number of images.

    The rest of fdet.json is not checked, and nor is its checksum. Raises as `CacheHeader.read` does.
    """
    _, data = _read_json(root)
    try:
        return CacheKey.from_json(data["key"])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise CorruptCache(f"{root / NAME}: unreadable header ({error!r})") from error


def _read_json(root: Path) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of fdet.json and its fields. Raises InputError, CorruptCache."""
    path = root / NAME
    if not is_there(path):
        raise InputError(f"{root} is not a cache: it has no {NAME}; make one with `fdet extract`")
    raw = read_below(root, NAME, MAX_BYTES)
    data = parse_json(raw, path)
    found = data.get("format")
    if found != FORMAT:
        raise InputError(
            f"{path}: format {str(found)[:20]}; this fdet reads format {FORMAT}: make the cache again, "
            "or use the fdet that made it"
        )
    return raw, data
