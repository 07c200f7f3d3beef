"""The names under which the files of an image are written: its own name, wherever two images allow that."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

# The maximum length in bytes of a file's name on common file systems.
_LONGEST_NAME = 255
# What separates parts of a path, or ends one, on some system.
_NOT_IN_FOLDERS = str.maketrans(
    dict.fromkeys('/\\:*?"<>|', "_") | dict.fromkeys(map(chr, range(32)), "_")
)


def output_names(names: Sequence[str], suffix: str, videos: Sequence[str] = ()) -> list[str]:
    """Return the name of the output of each file, without a suffix, in the folder of the file.

    names: paths that differ, such as sub/a.png. suffix: that of the output, such as .jpg. The output of a.png
    is called a; where another file would give the same, it is called a.png, except for a.jpg itself. videos:
    those of the names that become folders, in which no other file may lie.
    """
    short = [_without_suffix(name) for name in names]
    count = Counter(short)
    folders = {str(parent) for stem in short for parent in PurePosixPath(stem).parents}
    mixed = folders.intersection(_without_suffix(name) for name in videos)
    chosen = []
    for name, stem in zip(names, short, strict=True):
        alone = name == f"{stem}{suffix}" or count[stem] == 1
        chosen.append(stem if alone and stem not in mixed else name)
    return _distinct(chosen)


def fitting(path: str, suffix: str, number: int, ending: str = "") -> str:
    """Return a path with an ending and a suffix; where its last part is too long, `number` replaces it."""
    whole = PurePosixPath(f"{path}{ending}{suffix}")
    if len(os.fsencode(whole.name)) <= _LONGEST_NAME:
        return str(whole)
    return str(whole.with_name(f"{number}{ending}{suffix}"))


def folder_name(class_name: str, class_id: int) -> str:
    """Return the name of the folder of a class: its own name as far as a folder can have it."""
    name = class_name.translate(_NOT_IN_FOLDERS).strip(" .")
    if not name or not name.isprintable() or len(os.fsencode(name)) > _LONGEST_NAME:
        return f"class-{class_id}"
    return name


def folder_names(class_names: Sequence[str], class_ids: Sequence[int]) -> list[str]:
    """Return the folder of each class; where two would share one, the ids tell them apart."""
    names = [folder_name(*each) for each in zip(class_names, class_ids, strict=True)]
    count = Counter(name.casefold() for name in names)
    return [
        name if count[name.casefold()] == 1 else f"class-{class_id}"
        for name, class_id in zip(names, class_ids, strict=True)
    ]


def _without_suffix(name: str) -> str:
    path = PurePosixPath(name)
    # The frames of a video may be numbered like suffixes.
    bare = path.suffix.removeprefix(".").isdecimal()
    return name if bare or not path.suffix else str(path.with_suffix(""))


def _distinct(names: Sequence[str]) -> list[str]:
    """Return the names, with a number behind those that an earlier file has."""
    taken: set[str] = set()
    distinct = []
    for name in names:
        free, number = name, 2
        while free in taken:
            free, number = f"{name}-{number}", number + 1
        taken.add(free)
        distinct.append(free)
    return distinct
