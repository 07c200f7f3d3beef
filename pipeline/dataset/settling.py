"""The contents of a data set, settled by its image files: their names, and sizes that are not given."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...cache.errors import InputError
from ...cache.wording import counted
from .coco.ids import whole_number
from .coco.reading import LITERAL, given_name, valid_name_of
from .formats.files import first_few, with_reasons
from .formats.format import Contents
from .images.folders import actual_names, files_below, is_file
from .images.names import valid_name
from .images.sizes import read_sizes

# How many files are looked for before a folder is taken for that of the images.
_TRIED = 50


def settled(contents: Contents, folder: Path) -> Contents:
    """Return the contents with names relative to the folder of the images, and with all sizes.

    Raises InputError where sizes are not given and images are missing.
    """
    marked = _with_backslashes(contents, folder)
    named = _with_actual_names(_with_relative_names(marked, folder), folder)
    if not sizes_missing(named):
        return replace(named, images=folder)
    return replace(_with_sizes(named, folder), images=folder)


def without_missing(contents: Contents) -> Contents:
    """Return settled contents without the images whose files are not there, which become `missing`.

    Raises InputError where none is there.
    """
    folder = contents.images or Path()
    entries = [(e, name) for e in _images(contents) if (name := valid_name_of(e))]
    lost = [(entry, name) for entry, name in entries if not is_file(folder / name)]
    if not lost:
        return contents
    if len(lost) == len(entries):
        raise InputError(
            f"{contents.source}: all of its images are missing below {folder}: "
            f"{first_few([name for _, name in lost])}; check --images"
        )
    return _without([entry for entry, _ in lost], _with_missing(contents, [n for _, n in lost]))


def sizes_missing(contents: Contents) -> bool:
    """Return whether the size of some image has to be taken from its file."""
    return any(_lacks_size(entry) for entry in _images(contents))


def given_names(contents: Contents) -> list[str]:
    """Return the names of the image files as they are given."""
    return [name for entry in _images(contents) if (name := given_name(entry))]


def folder_of_all(contents: Contents) -> Path | None:
    """Return the folder in which all images lie, where the names are absolute and their files exist."""
    given = [Path(given_name(entry) or "") for entry in _images(contents)]
    if not given or not all(path.is_absolute() for path in given):
        return None
    if not all(is_file(path) for path in given[:: max(1, len(given) // _TRIED)]):
        return None
    return Path(os.path.commonpath([path.parent for path in given]))


def _images(contents: Contents) -> list[dict[str, Any]]:
    entries = contents.coco.get("images")
    return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []


def _lacks_size(entry: dict[str, Any]) -> bool:
    return any(entry.get(name) in (None, "", 0, "0") for name in ("height", "width"))


def _with_backslashes(contents: Contents, folder: Path) -> Contents:
    """Return the contents with a mark at images in whose file names a backslash is a letter.

    Elsewhere it parts folders, as on Windows.
    """
    names = [
        name for name in given_names(contents) if "\\" in name and not Path(name).is_absolute()
    ]
    there = {name for name in names if valid_name(name, literal=True) and is_file(folder / name)}
    if not there or os.sep == "\\":
        return contents
    images = [
        {**entry, LITERAL: True}
        if isinstance(entry, dict) and given_name(entry) in there
        else entry
        for entry in contents.coco["images"]
    ]
    remark = counted(
        len(there), "image has a backslash in its name", "images have a backslash in their names"
    )
    remark += f": {first_few(sorted(there))}"
    return replace(
        contents,
        coco={**contents.coco, "images": images},
        raw=None,
        remarks=(*contents.remarks, remark),
    )


def _with_relative_names(contents: Contents, folder: Path) -> Contents:
    """Return the contents with paths that leave the folder, such as absolute ones, made relative to it.

    Nothing is changed where some of them mean nothing there, or two mean one file; they are refused later.
    """
    normal = {name: valid_name_of(e) for e in _images(contents) if (name := given_name(e))}
    found = files_below(folder, [name for name, valid in normal.items() if not valid])
    taken = [*found.values(), *(valid for valid in normal.values() if valid)]
    if not all(found.values()) or not found or len(set(taken)) < len(taken):
        return contents
    return _renamed(
        contents,
        found,
        (
            "image is given by a path that leaves the folder",
            "images are given by paths that leave the folder",
        ),
    )


def _with_actual_names(contents: Contents, folder: Path) -> Contents:
    """Return the contents with the names that the files have, where that is beyond doubt."""
    normal = {given_name(entry) or "": valid_name_of(entry) for entry in _images(contents)}
    found = actual_names(folder, [name for name in normal.values() if name])
    if not found:
        return contents
    renamed = {name: found[valid] for name, valid in normal.items() if valid in found}
    return _renamed(
        contents,
        renamed,
        (
            "image was found under another name or folder",
            "images were found under another name or folder",
        ),
    )


def _renamed(contents: Contents, names: dict[str, str], how: tuple[str, str]) -> Contents:
    """Return the contents with other names, and with a remark that says how one name or several were."""
    first = next(iter(names.items()))
    remark = f"{counted(len(names), *how)}, e.g. {first[0]} as {first[1]}"
    images = [
        {**entry, "file_name": names[name]} if (name := given_name(entry) or "") in names else entry
        for entry in contents.coco["images"]
    ]
    return replace(
        contents,
        coco={**contents.coco, "images": images},
        raw=None,
        remarks=(*contents.remarks, remark),
    )


def _with_sizes(contents: Contents, folder: Path) -> Contents:
    """Return the contents with the sizes of images that name none, read from their files.

    Images that are missing or cannot be read are left out. Raises InputError where all are.
    """
    lacking = {
        id(e): name for e in _images(contents) if _lacks_size(e) and (name := valid_name_of(e))
    }
    missing = [name for name in lacking.values() if not (folder / name).is_file()]
    present = {key: name for key, name in lacking.items() if name not in set(missing)}
    if missing and len(missing) == len(_images(contents)):
        raise InputError(
            f"{contents.source}: the images, whose sizes are not given, are missing below {folder}: "
            f"{first_few(missing)}; check --images"
        )
    found = read_sizes([folder / name for name in present.values()])
    sizes = {key: hw for key, hw in zip(present, found, strict=True) if not isinstance(hw, str)}
    unread = {
        name: why for name, why in zip(present.values(), found, strict=True) if isinstance(why, str)
    }
    images = [
        {**entry, "height": sizes[id(entry)][0], "width": sizes[id(entry)][1]}
        if id(entry) in sizes
        else entry
        for entry in contents.coco["images"]
    ]
    sized = replace(contents, coco={**contents.coco, "images": images}, raw=None)
    if not unread and not missing:
        return sized
    if len(lacking) - len(sizes) == len(images):
        raise InputError(
            f"{contents.source}: no image can be read: {with_reasons(unread)[0]}; check --images"
        )
    sizeless = [e for e in _images(sized) if _lacks_size(e) and valid_name_of(e)]
    left = _without(sizeless, _with_missing(sized, missing))
    return replace(left, unread={**contents.unread, **unread})


def _with_missing(contents: Contents, names: Collection[str]) -> Contents:
    """Return the contents that say which images are missing, and how many objects they have."""
    objects, lost = _objects_by_image(contents), dict.fromkeys(names, 0)
    for entry in _images(contents):
        if (name := valid_name_of(entry)) in lost:
            lost[name] += objects[_id(entry.get("id"))]
    return replace(contents, missing={**contents.missing, **lost})


def _objects_by_image(contents: Contents) -> Counter[str]:
    """Return the number of objects of each image, by its id."""
    entries = contents.coco.get("annotations")
    given = [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    return Counter(_id(entry.get("image_id")) for entry in given)


def _without(left_out: Sequence[dict[str, Any]], contents: Contents) -> Contents:
    """Return the contents without some entries of images, and without their objects."""
    images, ids = contents.coco["images"], {_id(entry.get("id")) for entry in left_out}
    objects = contents.coco.get("annotations")
    if isinstance(objects, list):
        objects = [
            o for o in objects if not (isinstance(o, dict) and _id(o.get("image_id")) in ids)
        ]
    kept = [e for e in images if not (isinstance(e, dict) and _id(e.get("id")) in ids)]
    coco = {**contents.coco, "images": kept, "annotations": objects}
    return replace(contents, coco=coco, raw=None)


def _id(value: object) -> str:
    """Return an id in a form in which 2, 2.0 and "2" are the same."""
    number = whole_number(value)
    return str(value if number is None else number)
