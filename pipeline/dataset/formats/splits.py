"""The names of splits, as files and folders bear them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from .files import names_in

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
