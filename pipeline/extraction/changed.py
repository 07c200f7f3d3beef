"""Images that were edited since their features were made, found by their times, then by their bytes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...cache.disk.objects import ObjectPath
from ...cache.errors import KeyMismatch
from ...cache.format import header as header_file
from ...cache.format.content import image_files
from ...cache.format.header import CacheHeader
from ...cache.format.records import ShardRecord
from ...cache.layout import ImageEntry
from ...cache.wording import counted, listed
from ..dataset.images.decoding import file_and_window
from ..dataset.images.hashes import hashes_of

log = logging.getLogger(__name__)

# The images and the cache may lie on machines whose clocks differ.
CLOCKS_DIFFER_SECONDS = 3600.0


def changed_images(
    out: Path,
    header: CacheHeader,
    records: Iterable[ShardRecord],
    folder: Path,
    *,
    look_at_all: bool,
) -> list[ImageEntry]:
    """Return the images of written shards whose files now have another sha256, without missing files.

    Only files that have changed since the cache was begun are read, judged by the times of their inodes,
    which no tool sets back. With look_at_all every file is read, as it always is for a cache in an object
    store, which has no such time. Raises CorruptCache.
    """
    files = image_files(out, header, records)
    images = [image for image in header.layout.images if files.get(image.id)]
    if not look_at_all and not isinstance(out, ObjectPath):
        begun = (out / header_file.NAME).stat().st_mtime - CLOCKS_DIFFER_SECONDS
        images = [
            image
            for image in images
            if _touched(file_and_window(folder / image.file_name)[0]) >= begun
        ]
    if not images:
        return []
    hashes = hashes_of(folder, images)
    return [i for i in images if hashes[i.id] and hashes[i.id] != files[i.id]]


def _touched(path: Path) -> float:
    """Return when a file, or a link to it, was last changed in any way; 0 for a missing file."""
    try:
        of_link, of_file = path.lstat(), path.stat()
    except OSError:
        return 0.0
    return max(of_link.st_ctime, of_file.st_ctime, of_file.st_mtime)


def refuse_changed(out: Path, changed: Sequence[ImageEntry]) -> None:
    """Raise KeyMismatch where any image has changed."""
    if changed:
        one = "image has changed since its features were made"
        several = "images have changed since their features were made"
        names = listed([image.file_name for image in changed])
        raise KeyMismatch(
            f"{out}: {counted(len(changed), one, several)} ({names}); put them back, choose another --out, "
            "or add --redo-changed to make their shards again"
        )
