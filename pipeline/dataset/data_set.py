"""A data set in any format that FORMATS knows, found by looking and read into COCO form."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...cache.errors import InputError, did_you_mean
from ...cache.wording import counted
from .annotations import Annotations
from .coco.reading import annotations_of
from .data_name import DataName, check_path
from .formats import FORMATS
from .formats.files import first_few, is_closed, names_in, with_reasons
from .formats.format import MISSING_REMEDY, Contents, Format
from .formats.splits import SAME, usual_name
from .images.folders import images_folder
from .settling import folder_of_all, given_names, settled, sizes_missing, without_missing

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set in COCO form.

    source: its name in messages. format: the row of FORMATS it was read by. images: the folder that the names
    of its image files are relative to; None where it was not asked for. raw: the COCO JSON that a cache
    keeps; it is the user's own file where nothing had to be added to that. unread: the images that are left
    out since they cannot be read, by name, and why. missing: those that are left out since they are not there
    and only they say their sizes, by name, with the number of their objects. numbered: whether the ids of the
    classes are made up, since the data set knows them by name alone.
    """

    source: str
    format: str
    images: Path | None
    raw: bytes
    annotations: Annotations
    unread: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    numbered: bool = False


def read_data_set(
    path: Path,
    images: Path | None = None,
    *,
    format: str | None = None,
    split: str | None = None,
    outlines: bool = False,
    whole: bool = True,
    present: bool = False,
) -> DataSet:
    """Read a data set and find its images.

    images: the folder of the images, None to look for it. format: a row of FORMATS, None to find out. split:
    the split to read, where the path has several. outlines: whether to keep the objects' outlines. whole:
    whether missing images without which the data set cannot be read whole are refused, or left out and kept
    in `DataSet.missing`. present: whether all other missing images are left out so too. Raises InputError.
    """
    with _closed_is_input():
        name, contents = _read(DataName(path, format, split), images)
        contents = settled(contents, images or _folder(contents))
        contents = without_missing(contents) if present else contents
    if whole and not present:
        _refuse_missing(contents)
    return _data_set(name, contents, outlines)


def load_annotations(data: Path | DataName, *, outlines: bool = False) -> tuple[Annotations, bytes]:
    """Read the annotations of a data set, and their COCO JSON.

    The images need not be there, unless only they have the sizes; where they are found, names and sizes are
    those of `read_data_set`. outlines: whether to keep the objects' outlines. Raises InputError.
    """
    given = DataName(data) if isinstance(data, Path) else data
    with _closed_is_input():
        name, contents = _read(given, None)
    try:
        with _closed_is_input():
            contents = settled(contents, _folder(contents))
    except InputError:
        if sizes_missing(contents):
            raise
    _refuse_missing(contents)
    read = _data_set(name, contents, outlines)
    return read.annotations, read.raw


def _refuse_missing(contents: Contents) -> None:
    """Raise InputError for missing images that were left out, as extraction does for others."""
    if missing := contents.missing:
        total = len(missing) + len(contents.unread) + len(given_names(contents))
        raise InputError(f"{contents.source}: {missing_text(missing, total)}; {MISSING_REMEDY}")


def missing_text(missing: Mapping[str, int], total: int) -> str:
    """Return a sentence on missing images. missing: by name, the number of objects. total: of all images."""
    objects = counted(sum(missing.values()), "object")
    return (
        f"{len(missing)} of {total} images are missing, with {objects}: {first_few(list(missing))}"
    )


def _folder(contents: Contents) -> Path:
    """Return the folder of the images, as the format says or found beside the annotations."""
    known, source, names = contents.images, Path(contents.source), given_names(contents)
    if not names:  # Why there are none is said where the fields are checked.
        return source.parent
    return known or folder_of_all(contents) or images_folder(source, names)


def check_data_name(data: Path | DataName) -> None:
    """Raise InputError where there is no data set of this name; its contents are not read."""
    given = DataName(data) if isinstance(data, Path) else data
    with _closed_is_input():
        _split_of(given, FORMATS[_format_of(given.path, given.format)])


def splits_of(path: Path, format: str | None = None) -> tuple[str, ...]:
    """Return the names of a data set's splits that have images; () where it is a single set.

    Raises InputError.
    """
    with _closed_is_input():
        return tuple(FORMATS[_format_of(path, format)].splits(path))


@contextmanager
def _closed_is_input() -> Iterator[None]:
    """Raise InputError for a file or folder that may not be read, which is not the same as an absent one."""
    try:
        yield
    except PermissionError as error:
        raise InputError(
            f"{error.filename}: {error.strerror}; give yourself the right to read it"
        ) from error


def _read(given: DataName, images: Path | None) -> tuple[str, Contents]:
    name = _format_of(given.path, given.format)
    kind = FORMATS[name]
    return name, kind.read(given.path, _split_of(given, kind), images)


def _format_of(path: Path, format: str | None) -> str:
    if format is not None:
        if format not in FORMATS:
            raise InputError(f"--format {format!r}{did_you_mean(format, FORMATS)}")
        check_path(path)
        return format
    try:
        found = [name for name, kind in FORMATS.items() if kind.recognises(path)]
    except PermissionError:
        raise
    except OSError as error:
        raise InputError(f"annotations {path}: {error.strerror}") from error
    if len(found) == 1:
        return found[0]
    check_path(path)
    if found:
        raise InputError(f"{path}: it could be {' or '.join(found)}; say which by --format")
    for part in names_in(path) if path.is_dir() else ():
        if is_closed(path / part):
            raise InputError(
                f"{path / part}: Permission denied, and no data set is known without it"
            )
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
        missing=contents.missing,
        numbered=contents.numbered,
    )


def unread_remarks(unread: Mapping[str, str]) -> list[str]:
    """Return a sentence on images that are left out since they cannot be read, where there are some."""
    few = first_few(with_reasons(unread))
    what = "image cannot be read and is left out", "images cannot be read and are left out"
    return [f"{counted(len(unread), *what)}: {few}"] if unread else []
