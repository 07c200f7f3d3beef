"""The names that images get in a folder that is written, and the links or copies that lie there."""

from __future__ import annotations

import errno
import filecmp
import os
import re
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from ....cache.disk.publish import make_folder, publish_bytes, published, storage_error
from ....cache.errors import InputError
from ....cache.wording import counted
from ..annotations import Annotations, ImageBoxes
from ..formats.files import first_few
from ..images.files import SUFFIXES, is_hidden
from ..images.names import normal_name
from ..images.threads import in_threads
from ..outlines import joined_outlines

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
    # A file may be listed twice. Most of the time is spent waiting for the disk.
    in_threads("writing images", _place, list(dict.fromkeys(images)))


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
        _refuse_other(source, target)
        return
    try:
        os.link(source.resolve(), target)
    except FileExistsError:  # Another thread or program was faster.
        _refuse_other(source, target)
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


def _refuse_other(source: Path, target: Path) -> None:
    """Raise InputError where the target is another file than the source."""
    try:
        same = source.samefile(target) or filecmp.cmp(source, target, shallow=False)
    except OSError as error:
        raise InputError(f"{target}: {error.strerror}; choose another --out") from error
    if not same:
        raise InputError(
            f"{target}: it is there already, and differs from {source}; choose another --out"
        )


def merged_by_file(annotations: Annotations) -> tuple[Annotations, list[str]]:
    """Return the annotations with one entry for each image file, which has the objects of all its entries.

    The first entry's id stays. A remark says how many files are listed more than once. Raises InputError
    where the entries of a file differ in size.
    """
    entries: dict[str, list[int]] = {}
    for position, image in enumerate(annotations.images):
        entries.setdefault(image.file_name, []).append(position)
    repeated = [name for name, positions in entries.items() if len(positions) > 1]
    if not repeated:
        return annotations, []
    for name in repeated:
        sizes = {annotations.images[p].hw for p in entries[name]}
        if len(sizes) > 1:
            shown = " and ".join(f"{columns}x{rows}" for rows, columns in sorted(sizes))
            raise InputError(f"{name}: it is listed with the sizes {shown}; correct one of them")
    starts, packed = annotations.starts, annotations.packed
    parts = [
        (int(starts[p]), int(starts[p + 1])) for positions in entries.values() for p in positions
    ]
    order = np.concatenate([np.arange(*part) for part in parts]).astype(np.int64)
    counts = [sum(int(starts[p + 1] - starts[p]) for p in ps) for ps in entries.values()]
    outlines = packed.outlines
    merged = replace(
        annotations,
        images=tuple(annotations.images[positions[0]] for positions in entries.values()),
        packed=ImageBoxes(
            packed.boxes[order],
            packed.labels[order],
            packed.crowd[order],
            packed.area[order],
            None if outlines is None else joined_outlines([outlines.part(*p) for p in parts]),
        ),
        starts=np.cumsum([0, *counts]),
    )
    what = counted(
        len(repeated),
        "image file is listed more than once and gets the objects of all its entries",
        "image files are listed more than once and get the objects of all their entries",
    )
    return merged, [f"{what}: {first_few(repeated)}"]


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
        what = counted(len(changed), "image gets", "images get")
        why = "another name, since a label file has the name of its image without the suffix"
        remarks.append(f"{what} {why}: {first_few(changed)}")
    if strange:
        what = counted(len(strange), "image has", "images have")
        remarks.append(f"{what} a suffix that no image has: {first_few(strange)}")
    return names, remarks


def class_names(annotations: Annotations) -> list[str]:
    """Return the names of the classes as text formats can hold them: without blanks around, and not empty."""
    pairs = zip(annotations.class_ids, annotations.class_names, strict=True)
    return [name.strip() or f"class {number}" for number, name in pairs]
