"""`fdet cache annotations`: the annotations that a cache keeps, as a file of COCO JSON."""

from __future__ import annotations

from pathlib import Path

from ....cache.disk.publish import publish_bytes
from ....cache.errors import InputError
from ....cache.format.annotation_copy import read_annotations
from ....cache.format.header import CacheHeader


def write_annotations(cache: Path, out: Path) -> int:
    """Write the annotations of a cache, which need not be finished, and return their size in bytes.

    Names and sizes of images in them are those of the files. A file with the same bytes may be there. Raises
    InputError for any other, CorruptCache, StorageError.
    """
    raw = read_annotations(cache, CacheHeader.read(cache))
    if out.is_file() and out.read_bytes() == raw:
        return len(raw)
    if out.exists() or out.is_symlink():
        raise InputError(f"{out}: it holds something else; choose another")
    if not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}; make it, or choose another")
    publish_bytes(out, raw, existing="keep")
    return len(raw)
