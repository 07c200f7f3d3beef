"""The names of splits, as files and folders bear them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ....cache.errors import InputError
from .files import has_image, names_in

SPLITS = ("train", "val", "valid", "validation", "test")
"""The splits that files and folders are named after."""
SAME: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test",),
}
"""The names that people give to one split, by the usual one."""
_NUMBERED = re.compile(rf"({'|'.join(SPLITS)})\d*")


def split_in(name: str) -> str | None:
    """Return the split that a file or folder is named after, val for "val2017"; None for another name."""
    found = _NUMBERED.fullmatch(name.casefold())
    return found[1] if found else None


def usual_name(split: str) -> str:
    """Return the usual name of a split, val for "valid"; another name stays as it is."""
    return next((usual for usual, names in SAME.items() if split in names), split)


def is_needed(split: str) -> bool:
    """Return whether a split that a data set names has to be there: that of training, and of validation.

    Without one of them another would take its place. Data sets are often published without a part for tests.
    """
    return usual_name(split_in(split) or split) in ("train", "val")


def split_folders(folder: Path) -> Mapping[str, str]:
    """Return the names of the folders in a folder that are named after splits, by the split."""
    named = (name for name in names_in(folder) if split_in(name))
    return by_split(name for name in named if (folder / name).is_dir())


def by_split(names: Iterable[str]) -> Mapping[str, str]:
    """Return the names that name a split, by that split, in the order of SPLITS.

    Where two name one split, as train2014 and train2017 do, each is a split of its own.
    """
    given = sorted(name for name in names if split_in(name))
    splits = [split_in(name) or "" for name in given]
    keyed = {
        s if splits.count(s) == 1 else name: name for s, name in zip(splits, given, strict=True)
    }
    return dict(sorted(keyed.items(), key=lambda item: SPLITS.index(split_in(item[1]) or "")))


def unlabelled_folders(folder: Path, found: Iterable[str]) -> Mapping[str, Path]:
    """Return the folders of splits in a folder that hold images, and of which no annotations are known.

    found: the splits whose annotations are known; where there are none, nothing is known of the others.
    """
    known = {_usual(split) for split in found}
    return {
        split: folder / name
        for split, name in (split_folders(folder) if known else {}).items()
        if _usual(name) not in known and has_image(folder / name)
    }


def _usual(split: str) -> str:
    return usual_name(split_in(split) or split)


def with_unlabelled(folder: Path, found: Sequence[str]) -> tuple[str, ...]:
    """Return the splits that were found, and those that need annotations and have only images.

    Reading one of these is refused, so that no other split takes its place.
    """
    lacking = (split for split in unlabelled_folders(folder, found) if is_needed(split))
    return tuple(sorted((*found, *lacking), key=lambda s: SPLITS.index(split_in(s) or s)))


def refuse_unlabelled(
    folder: Path, split: str | None, found: Iterable[str], expected: str
) -> list[str]:
    """Return a sentence for each split that has images alone and is left out.

    split: the one that is read. expected: the annotations of a split. Raises InputError where it has none.
    """
    alone = unlabelled_folders(folder, found)
    if split is not None and split in alone:
        raise InputError(
            f"{alone[split]}: it has images, and {expected} is not there: put it there, or take the folder "
            "away where there is no such split"
        )
    return [
        f"{place} has images, and {expected} is not there: this split is left out"
        for other, place in alone.items()
        if not is_needed(other)
    ]
