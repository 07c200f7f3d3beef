"""The names that images get in a folder that is written, and the links or copies that lie there."""

from __future__ import annotations

import errno
import filecmp
import os
import re
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ....cache.disk.publish import make_folder, publish_bytes, published, storage_error
from ....cache.errors import InputError
from ..annotations import Annotations
from ..image_files import SUFFIXES, is_hidden
from ..names import normal_name
from ..threads import in_threads

# What file systems answer that have no hard links, or none to such a file.
_NO_LINK = frozenset(
    {
        errno.EXDEV,
        errno.EPERM,
        errno.EACCES,
        errno.EMLINK,
        errno.ENOTSUP,
        errno.ENOSYS,
        errno.EINVAL,
    }
)


def split_name(split: str | None, default: str) -> str:
    """Return a split's name as that of a file or folder, or the default where there is no split."""
    if split is None:
        return default
    return re.sub(r"[^\w.-]+", "-", split).strip(".-") or default


@dataclass(frozen=True, slots=True)
class Placed:
    """An image to link from its source to its target, and the file of its objects with its content."""

    source: Path
    target: Path
    file: Path | None = None
    content: bytes = b""


def place_all(images: Sequence[Placed]) -> None:
    """Link the images, and publish the files of their objects. Raises InputError, StorageError."""
    # Most of the time is spent waiting for the disk.
    in_threads("writing images", _place, images)


def _place(image: Placed) -> None:
    place_image(image.source, image.target)
    if image.file is not None:
        publish_bytes(image.file, image.content, existing="replace")


def place_image(source: Path, target: Path) -> None:
    """Give an image a second name by a hard link, or copy it where that is not possible.

    Raises InputError where it is no file or the target is another one, and StorageError where the disk
    refuses.
    """
    try:
        if not stat.S_ISREG(source.stat().st_mode):
            raise InputError(f"{source}: not a regular file")
    except OSError as error:
        raise InputError(f"{source}: {error.strerror}; check --images") from error
    make_folder(target.parent)
    if target.exists():
        if not _same(source, target):
            raise InputError(
                f"{target}: it is there already, and differs from {source}; choose another --out"
            )
        return
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise storage_error(target, error) from error
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    try:
        file = source.open("rb")
    except OSError as error:
        raise InputError(f"{source}: {error.strerror}") from error
    with file, published(target, reserve=source.stat().st_size) as scratch:
        shutil.copyfileobj(file, scratch)


def _same(source: Path, target: Path) -> bool:
    return source.samefile(target) or filecmp.cmp(source, target, shallow=False)


def own_names(annotations: Annotations) -> tuple[dict[str, str], list[str]]:
    """Return a name for each image file, so that no two names differ in their suffix or case alone.

    Parts of a name that hide a file get a letter before them. The remarks say how many names have changed,
    and how many have a suffix that no image has.
    """
    taken: set[str] = set()
    names = {}
    for image in annotations.images:
        path = PurePosixPath(normal_name(image.file_name))
        path = PurePosixPath(*(f"x{part}" if is_hidden(part) else part for part in path.parts))
        own, number = path, 1
        while str(own.with_suffix("")).casefold() in taken:
            ending = path.suffix.removeprefix(".") if number == 1 else str(number)
            own = path.with_name(f"{path.stem}-{ending or number}{path.suffix}")
            number += 1
        taken.add(str(own.with_suffix("")).casefold())
        names[image.file_name] = str(own)
    changed = [f"{name} as {own}" for name, own in names.items() if normal_name(name) != own]
    strange = [own for own in names.values() if PurePosixPath(own).suffix.lower() not in SUFFIXES]
    remarks = []
    if changed:
        what = "another name, since a label file has the name of its image without the suffix"
        remarks.append(f"{len(changed)} images get {what}: {_few(changed)}")
    if strange:
        remarks.append(f"{len(strange)} images have a suffix that no image has: {_few(strange)}")
    return names, remarks


def class_names(annotations: Annotations) -> list[str]:
    """Return the names of the classes as text formats can hold them: without blanks around, and not empty."""
    pairs = zip(annotations.class_ids, annotations.class_names, strict=True)
    return [name.strip() or f"class {number}" for number, name in pairs]


def _few(items: Sequence[str], count: int = 3) -> str:
    return ", ".join(items[:count]) + (", ..." if len(items) > count else "")
