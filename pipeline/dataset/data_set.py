"""A data set in any format that FORMATS knows, found by looking and read into COCO form."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...cache.errors import InputError, did_you_mean
from .annotations import Annotations
from .coco_json import annotations_of, given_name
from .data_name import DataName
from .folders import actual_names, images_folder
from .formats import FORMATS
from .formats.format import Contents
from .image_sizes import read_sizes
from .names import normal_name

log = logging.getLogger(__name__)

# Names that people give to one split.
_SAME_SPLIT = {
    "val": ("val", "valid", "validation", "dev"),
    "train": ("train", "training"),
    "test": ("test",),
}


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set in COCO form.

    source: its name in messages. format: the row of FORMATS it was read by. images: the folder that the names
    of its image files are relative to; None where it was not asked for. raw: the COCO JSON that a cache
    keeps; it is the user's own file where nothing had to be added to that.
    """

    source: str
    format: str
    images: Path | None
    raw: bytes
    annotations: Annotations


def read_data_set(
    path: Path,
    images: Path | None = None,
    *,
    format: str | None = None,
    split: str | None = None,
    outlines: bool = False,
) -> DataSet:
    """Read a data set and find its images.

    images: the folder of the images, None to look for it. format: a row of FORMATS, None to find out. split:
    the split to read, where the path has several. outlines: whether to keep the objects' outlines. Raises
    InputError.
    """
    name, contents = _read(path, images, format, split)
    folder = images or contents.images
    if folder is None:
        folder = images_folder(Path(contents.source), _names(contents))
    return _data_set(name, _settled(contents, folder), outlines)


def load_annotations(data: Path | DataName, *, outlines: bool = False) -> tuple[Annotations, bytes]:
    """Read the annotations of a data set, and their COCO JSON; its images need not be there.

    outlines: whether to keep the objects' outlines. Raises InputError.
    """
    given = DataName(data) if isinstance(data, Path) else data
    name, contents = _read(given.path, None, given.format, given.split)
    if _sizes_missing(contents):
        folder = contents.images or images_folder(Path(contents.source), _names(contents))
        contents = _settled(contents, folder)
    read = _data_set(name, contents, outlines)
    return read.annotations, read.raw


def check_data_name(data: Path | DataName) -> None:
    """Raise InputError where there is no data set of this name; its contents are not read."""
    given = DataName(data) if isinstance(data, Path) else data
    kind = FORMATS[_format_of(given.path, given.format)]
    _split_of(given.path, kind.splits(given.path), given.split)


def splits_of(path: Path, format: str | None = None) -> tuple[str, ...]:
    """Return the names of a data set's splits; () where it is a single set. Raises InputError."""
    return tuple(FORMATS[_format_of(path, format)].splits(path))


def _read(
    path: Path, images: Path | None, format: str | None, split: str | None
) -> tuple[str, Contents]:
    name = _format_of(path, format)
    kind = FORMATS[name]
    return name, kind.read(path, _split_of(path, kind.splits(path), split), images)


def _format_of(path: Path, format: str | None) -> str:
    if format is not None:
        if format not in FORMATS:
            raise InputError(f"--format {format!r}{did_you_mean(format, FORMATS)}")
        if not path.exists():
            raise InputError(f"annotations {path}: No such file or directory")
        return format
    try:
        found = [name for name, kind in FORMATS.items() if kind.recognises(path)]
    except OSError as error:
        raise InputError(f"annotations {path}: {error.strerror}") from error
    if len(found) == 1:
        return found[0]
    if not path.exists():
        raise InputError(f"annotations {path}: No such file or directory")
    if found:
        raise InputError(f"{path}: it could be {' or '.join(found)}; say which by --format")
    known = ", ".join(kind.help for kind in FORMATS.values())
    raise InputError(f"{path}: no data set that is known; expected {known}; see docs/data.md")


def _split_of(path: Path, splits: Sequence[str], split: str | None) -> str | None:
    """Return the split to read, by the name that the data set gives it. Raises InputError."""
    if split is None:
        if len(splits) > 1:
            raise InputError(f"{path}: it has the splits {', '.join(splits)}; say which by --split")
        return splits[0] if splits else None
    if not splits:
        raise InputError(f"--split {split}: {path} is a single set; leave it out")
    same = next((names for names in _SAME_SPLIT.values() if split in names), (split,))
    for name in (split, *same):
        if name in splits:
            return name
    raise InputError(f"--split {split!r}: {path} has {', '.join(splits)}")


def _images(contents: Contents) -> list[dict[str, Any]]:
    entries = contents.coco.get("images")
    return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []


def _names(contents: Contents) -> list[str]:
    """Return the names of the image files, as far as they are valid."""
    return [name for entry in _images(contents) if (name := _valid_name(entry))]


def _sizes_missing(contents: Contents) -> bool:
    return any(_lacks_size(entry) for entry in _images(contents))


def _lacks_size(entry: dict[str, Any]) -> bool:
    return any(not entry.get(name) for name in ("height", "width"))


def _settled(contents: Contents, folder: Path) -> Contents:
    """Return the contents with names relative to the folder of the images, and with all sizes."""
    named = _with_actual_names(_with_relative_names(contents, folder), folder)
    if not _sizes_missing(named):
        return replace(named, images=folder)
    return replace(_with_sizes(named, folder), images=folder)


def _with_relative_names(contents: Contents, folder: Path) -> Contents:
    """Return the contents with absolute names below the folder made relative to it."""
    root = folder.absolute().as_posix().rstrip("/") + "/"
    renamed = {
        name: name[len(root) :]
        for entry in _images(contents)
        if (name := given_name(entry) or "").startswith(root)
    }
    return _renamed(contents, renamed)


def _with_actual_names(contents: Contents, folder: Path) -> Contents:
    renamed = actual_names(folder, _names(contents))
    if not renamed:
        return contents
    first = next(iter(renamed.items()))
    remark = f"{len(renamed)} images were found under another name or folder, e.g. {first[0]} as {first[1]}"
    given = {given_name(e) or "": e for e in _images(contents)}
    by_given = {}
    for name in given:
        try:
            actual = renamed.get(normal_name(name))
        except ValueError:
            continue
        if actual is not None:
            by_given[name] = actual
    return replace(_renamed(contents, by_given), remarks=(*contents.remarks, remark))


def _renamed(contents: Contents, names: dict[str, str]) -> Contents:
    if not names:
        return contents
    images = [
        {**entry, "file_name": names[name]} if (name := given_name(entry) or "") in names else entry
        for entry in contents.coco["images"]
    ]
    return replace(contents, coco={**contents.coco, "images": images}, raw=None)


def _with_sizes(contents: Contents, folder: Path) -> Contents:
    """Return the contents with the sizes of images that name none, read from their files.

    Images that cannot be read are left out. Raises InputError for missing ones, and where all are left out.
    """
    lacking = {
        id(e): name for e in _images(contents) if _lacks_size(e) and (name := _valid_name(e))
    }
    missing = [name for name in lacking.values() if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{contents.source}: {len(missing)} images, whose sizes are not given, are missing below "
            f"{folder}: {missing[0]}; check --images"
        )
    found = read_sizes([folder / name for name in lacking.values()])
    sizes = {key: hw for key, hw in zip(lacking, found, strict=True) if not isinstance(hw, str)}
    unread = [
        f"{n} ({why})"
        for n, why in zip(lacking.values(), found, strict=True)
        if isinstance(why, str)
    ]
    images = [
        {**entry, "height": sizes[id(entry)][0], "width": sizes[id(entry)][1]}
        if id(entry) in sizes
        else entry
        for entry in contents.coco["images"]
    ]
    sized = replace(contents, coco={**contents.coco, "images": images}, raw=None)
    if not unread:
        return sized
    if len(unread) == len(images):
        raise InputError(f"{contents.source}: no image can be read: {unread[0]}; check --images")
    remark = (
        f"{len(unread)} images without a size cannot be read and are left out, e.g. {unread[0]}"
    )
    return replace(_without_sizeless(sized), remarks=(*contents.remarks, remark))


def _valid_name(entry: dict[str, Any]) -> str:
    """Return the name of an image's file, "" where it is none and will be refused."""
    try:
        return normal_name(given_name(entry) or "")
    except ValueError:
        return ""


def _without_sizeless(contents: Contents) -> Contents:
    """Return the contents without the images that have no size, and without their objects."""
    left_out = {str(e.get("id")) for e in _images(contents) if _lacks_size(e) and _valid_name(e)}
    images = [
        e
        for e in contents.coco["images"]
        if not (isinstance(e, dict) and str(e.get("id")) in left_out)
    ]
    objects = contents.coco.get("annotations")
    if isinstance(objects, list):
        objects = [
            o for o in objects if not (isinstance(o, dict) and str(o.get("image_id")) in left_out)
        ]
    return replace(contents, coco={**contents.coco, "images": images, "annotations": objects})


def _data_set(name: str, contents: Contents, outlines: bool) -> DataSet:
    annotations = annotations_of(contents.coco, contents.source, outlines=outlines)
    remarks = (*contents.remarks, *annotations.remarks)
    raw = contents.raw or json.dumps(contents.coco).encode()
    return DataSet(
        contents.source, name, contents.images, raw, replace(annotations, remarks=remarks)
    )
