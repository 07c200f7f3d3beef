"""The splits of a data set as a command names them: all of one path, or one for each of several paths."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ....cache.errors import InputError
from ..classes.numbering import numbered_alike
from ..data_set import DataSet, read_data_set, splits_of


def read_splits(
    paths: Sequence[Path],
    images: Path | Sequence[Path] | None = None,
    *,
    format: str | None = None,
    names: Sequence[str] = (),
    outlines: bool = False,
    whole: bool = True,
) -> dict[str, DataSet]:
    """Read splits and return them by name.

    paths: a path with all of its splits, or a path for each split, which is then called by its file.
    images: the folder of all images, or one for each path; None or () to look for them. format: a row of
    FORMATS, None to find out. names: the splits to read of one path, () for all. outlines: whether to keep
    the objects' outlines. whole: whether missing images are refused, as by `read_data_set`. Where the ids of
    classes are made up, those of several paths are made up together. Raises InputError.
    """
    if len(paths) > 1 and names:
        raise InputError("--split chooses among the splits of one path; give one, or leave it out")
    folders = dict(zip(paths, _folders(paths, images), strict=True))
    found = [
        (path, split) for path in paths for split in (names or splits_of(path, format) or (None,))
    ]
    read = {
        name: read_data_set(
            path, folders[path], format=format, split=split, outlines=outlines, whole=whole
        )
        for name, (path, split) in zip(_named(found), found, strict=True)
    }
    if len(read) < len(found):
        raise InputError(f"{', '.join(map(str, paths))}: a path is given twice")
    return numbered_alike(read) if len(paths) > 1 else read


def _folders(paths: Sequence[Path], images: Path | Sequence[Path] | None) -> Sequence[Path | None]:
    """Return the folder of the images of each path. Raises InputError."""
    given: Sequence[Path | None] = images if isinstance(images, Sequence) else [images]
    given = given or [None]
    if len(given) not in (1, len(paths)):
        raise InputError(
            f"--images: expected one folder, or one for each of {len(paths)} paths, got {len(given)}"
        )
    return given if len(given) == len(paths) else list(given) * len(paths)


def _named(found: Sequence[tuple[Path, str | None]]) -> list[str]:
    """Return a name for each split: its own, that of its file, or where these are not unique both."""
    stems = [_stem(path) for path, _ in found]
    choices = (
        [split or _short_name(path) for path, split in found],
        [
            f"{stem}/{split}" if split else stem
            for stem, (_, split) in zip(stems, found, strict=True)
        ],
        [f"{path}/{split}" if split else str(path) for path, split in found],
    )
    return next((names for names in choices if len(set(names)) == len(names)), choices[-1])


def _short_name(path: Path) -> str:
    """Return the name that a file gives its split: train for instances_train2017.json."""
    stem = _stem(path)
    if stem in ("_annotations.coco", "annotations", "labels"):
        return path.absolute().parent.name or stem
    return re.sub(r"^(instances_|lvis_v1_)|(?<=\D)(19|20)\d\d$", "", stem) or stem


def _stem(path: Path) -> str:
    """Return the name of a file without its suffix, or of a folder, which "." and ".." have too."""
    return path.stem if path.name not in ("", "..") else path.resolve().name or str(path)
