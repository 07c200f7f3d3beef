"""A data set in any format that FORMATS knows, found by looking and read into COCO form."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...cache.errors import InputError, did_you_mean
from .annotations import Annotations
from .coco_json import annotations_of
from .data_name import DataName
from .folders import images_folder
from .formats import FORMATS
from .formats.files import first_few, with_reasons
from .formats.format import Contents, Format
from .formats.splits import SAME, usual_name
from .settling import folder_of_all, given_names, settled, sizes_missing

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set in COCO form.

    source: its name in messages. format: the row of FORMATS it was read by. images: the folder that the names
    of its image files are relative to; None where it was not asked for. raw: the COCO JSON that a cache
    keeps; it is the user's own file where nothing had to be added to that. unread: the images that are left
    out since they cannot be read, by name, and why. numbered: whether the ids of the classes are made up,
    since the data set knows them by name alone.
    """

    source: str
    format: str
    images: Path | None
    raw: bytes
    annotations: Annotations
    unread: Mapping[str, str] = field(default_factory=dict)
    numbered: bool = False


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
    name, contents = _read(DataName(path, format, split), images)
    return _data_set(name, settled(contents, images or _folder(contents)), outlines)


def load_annotations(data: Path | DataName, *, outlines: bool = False) -> tuple[Annotations, bytes]:
    """Read the annotations of a data set, and their COCO JSON.

    The images need not be there, unless only they have the sizes; where they are found, names and sizes are
    those of `read_data_set`. outlines: whether to keep the objects' outlines. Raises InputError.
    """
    given = DataName(data) if isinstance(data, Path) else data
    name, contents = _read(given, None)
    try:
        contents = settled(contents, _folder(contents))
    except InputError:
        if sizes_missing(contents):
            raise
    read = _data_set(name, contents, outlines)
    return read.annotations, read.raw


def _folder(contents: Contents) -> Path:
    """Return the folder of the images, as the format says or found beside the annotations."""
    known, source, names = contents.images, Path(contents.source), given_names(contents)
    if not names:  # Why there are none is said where the fields are checked.
        return source.parent
    return known or folder_of_all(contents) or images_folder(source, names)


def check_data_name(data: Path | DataName) -> None:
    """Raise InputError where there is no data set of this name; its contents are not read."""
    given = DataName(data) if isinstance(data, Path) else data
    _split_of(given, FORMATS[_format_of(given.path, given.format)])


def splits_of(path: Path, format: str | None = None) -> tuple[str, ...]:
    """Return the names of a data set's splits that have images; () where it is a single set.

    Raises InputError.
    """
    return tuple(FORMATS[_format_of(path, format)].splits(path))


def _read(given: DataName, images: Path | None) -> tuple[str, Contents]:
    name = _format_of(given.path, given.format)
    kind = FORMATS[name]
    return name, kind.read(given.path, _split_of(given, kind), images)


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


def _split_of(given: DataName, kind: Format) -> str | None:
    """Return the split to read, by the name that the data set gives it. Raises InputError."""
    path, split, option = given.path, given.split, given.option
    splits = kind.splits(path)
    if split is None:
        if len(splits) > 1:
            raise InputError(
                f"{path}: it has the splits {', '.join(splits)}; say which by {option}"
            )
        return splits[0] if splits else None
    known = (*splits, *kind.further(path))
    if not known:
        raise InputError(f"{option} {split}: {path} is a single set; leave it out")
    same = SAME.get(usual_name(split), ())
    for name in (split, *same):
        if name in known:
            return name
    raise InputError(f"{option} {split!r}: {path} has {', '.join(known)}")


def _data_set(name: str, contents: Contents, outlines: bool) -> DataSet:
    annotations = annotations_of(contents.coco, contents.source, outlines=outlines)
    remarks = (*contents.remarks, *unread_remarks(contents.unread), *annotations.remarks)
    return DataSet(
        source=contents.source,
        format=name,
        images=contents.images,
        raw=contents.raw or json.dumps(contents.coco).encode(),
        annotations=replace(annotations, remarks=remarks),
        unread=contents.unread,
        numbered=contents.numbered,
    )


def unread_remarks(unread: Mapping[str, str]) -> list[str]:
    """Return a sentence on images that are left out since they cannot be read, where there are some."""
    few = first_few(with_reasons(unread))
    return [f"{len(unread)} images cannot be read and are left out: {few}"] if unread else []
