"""CSV: a table with a row for each object, of one split, of all, or one table for each split."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from ....cache.errors import InputError
from ....cache.wording import counted
from ..images.files import SUFFIXES
from ..images.folders import images_folder, is_file
from ..images.names import normal_name
from ..images.sizes import read_sizes
from .assembly import ImageObjects, ObjectEntry, between, coco_form, spelling_remarks
from .csv_classes import class_ids, described
from .csv_columns import Columns, Row, columns_of, looks_like_boxes, named_in, read_rows
from .files import first_few, is_closed, names_in, one_line, plain_path, shared_folder, with_reasons
from .format import Contents, Format
from .splits import SPLITS, refuse_unlabelled, split_folders, split_in, with_unlabelled

_SUFFIXES = (".csv", ".tsv")
# What is tried where the names of images have no suffix.
_OF_IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".JPG", ".PNG")


@dataclass(frozen=True, slots=True)
class _Named:
    """The name of each image that a table writes, and the folder that the names are relative to, if known.

    remarks: what was assumed.
    """

    names: Mapping[str, str]
    root: Path | None
    remarks: tuple[str, ...] = ()


def recognises(path: Path) -> bool:
    """Return whether a path is a table by its suffix, or a folder in which tables of boxes lie."""
    if path.is_file():
        return path.suffix.lower() in _SUFFIXES
    return path.is_dir() and bool(_tables(path))


def splits(path: Path) -> Sequence[str]:
    """Return the splits of a column, or those that tables are named after."""
    if path.is_file():
        return _splits_in(path)
    tables = _tables(path)
    if named := _by_split(tables):
        return with_unlabelled(path, tuple(named))
    return _splits_in(tables[0]) if len(tables) == 1 else ()


def read(path: Path, split: str | None, images: Path | None) -> Contents:
    """Read the table of a split. Raises InputError."""
    named = _by_split(_tables(path)) if path.is_dir() else {}
    left_out = refuse_unlabelled(path, split, named, "a table of their boxes")
    table = _table(path, split)
    columns = columns_of(table)
    rows = list(read_rows(table, columns))
    others = [other for other in _siblings(table, path) if other != table]
    labels = {row.label for row in rows}.union(*(named_in(other)[1] for other in others))
    folders = list(dict.fromkeys([table.parent, path if path.is_dir() else table.parent]))
    names = described(labels - {""}, folders) if columns.fractions else {}
    ids, numbered, remarks = class_ids(
        {names.get(label, label) for label in labels - {""}}, folders
    )
    if not ids:
        raise InputError(f"{table}: expected rows with a box and a class, got none")
    if "score" in columns.at and not columns.fractions:
        remarks.append(
            "the column of scores is not used: it belongs to predictions, not to annotations"
        )
    if "split" in columns.at and split is not None:
        rows = [row for row in rows if row.split == split.casefold()]
    remarks += left_out
    remarks += spelling_remarks((row.label, row.written) for row in rows if row.label)
    remarks += [
        f"the column {used!r} is read, and {other!r} is not"
        for other, used in columns.others.items()
    ]
    rows = [replace(row, label=names.get(row.label, row.label)) for row in rows]
    contents = _contents(table, rows, columns, ids, images, remarks)
    return replace(contents, numbered=numbered)


def _contents(
    table: Path,
    rows: Sequence[Row],
    columns: Columns,
    ids: Mapping[str, int],
    images: Path | None,
    remarks: list[str],
) -> Contents:
    """Return the contents of the rows of a split."""
    if not rows:
        raise InputError(f"{table}: expected a row for each object or image, got none")
    named = _named(table, list(dict.fromkeys(row.file for row in rows)), images)
    of_image: dict[str, list[Row]] = {}
    for row in rows:
        of_image.setdefault(named.names[row.file], []).append(row)
    sizes = {name: _size(table, group) for name, group in of_image.items()}
    root, unread, missing = named.root, dict[str, str](), list[str]()
    if columns.fractions:
        root = images or root or images_folder(table, list(of_image))
        missing = [name for name in of_image if not (root / name).is_file()]
        sizes, unread = _sizes_read(table, root, [n for n in of_image if n not in set(missing)])
    entries = [
        ImageObjects(
            name,
            size,
            [
                _object(row, ids, size if columns.fractions else None)
                for row in group
                if row.corners
            ],
        )
        for name, size in sizes.items()
        for group in [of_image[name]]
    ]
    coco = coco_form(entries, {number: name for name, number in ids.items()})
    lost = {name: sum(bool(row.corners) for row in of_image[name]) for name in missing}
    return Contents(coco, str(table), None, root, (*remarks, *named.remarks), unread, lost)


def _object(row: Row, ids: Mapping[str, int], hw: tuple[int, int] | None) -> ObjectEntry:
    """Return the object of a row. hw: the size that its corners are fractions of; None for px."""
    x1, y1, x2, y2 = row.corners
    if hw is not None:
        rows, columns = hw
        x1, y1, x2, y2 = (round(v, 6) for v in (x1 * columns, y1 * rows, x2 * columns, y2 * rows))
    return ObjectEntry(ids[row.label], between(x1, y1, x2, y2), (), row.crowd)


def _size(table: Path, rows: Sequence[Row]) -> tuple[int, int] | None:
    """Return the size that the rows of an image give. Raises InputError where they differ."""
    sizes = {row.hw: row.line for row in reversed(rows) if row.hw is not None}
    if len(sizes) > 1:
        (first, line), (other, line2) = sorted(sizes.items(), key=lambda item: item[1])[:2]
        raise InputError(
            f"{table}: line {line2}: {one_line(rows[0].file)} is {other[1]} x {other[0]} px here and "
            f"{first[1]} x {first[0]} px in line {line}"
        )
    return next(iter(sizes), None)


def _sizes_read(
    table: Path, root: Path, names: Sequence[str]
) -> tuple[dict[str, tuple[int, int] | None], dict[str, str]]:
    """Return the sizes of the images that can be read, and why the others cannot."""
    if not names:
        raise InputError(f"{table}: all of its images are missing below {root}; check --images")
    found = dict(zip(names, read_sizes([root / name for name in names]), strict=True))
    unread = {name: size for name, size in found.items() if isinstance(size, str)}
    sizes = {name: size for name, size in found.items() if not isinstance(size, str)}
    if not sizes:
        raise InputError(f"{root}: no image can be read: {first_few(with_reasons(unread))}")
    return {**sizes}, unread


def _named(table: Path, given: Sequence[str], images: Path | None) -> _Named:
    """Return the names of images below one folder, for names that may be absolute or lack a suffix."""
    names: dict[str, str] = {}
    bases = [images] if images else [table.parent, table.parent / "images"]
    for name in given:
        # A backslash is a letter of a name where there is such a file.
        literal = "\\" in name and any(is_file(base / name) for base in bases)
        try:
            names[name] = normal_name(name, literal=literal)
        except ValueError:
            return _below_shared(table, given, images)
    if all(PurePosixPath(name).suffix.lower() in SUFFIXES for name in names.values()):
        return _Named(names, None)
    return _with_suffix(table, names, images)


def _below_shared(table: Path, given: Sequence[str], images: Path | None) -> _Named:
    """Return the names relative to the folder that all images share, of which some are absolute."""
    here = plain_path(table).parent
    paths = {}
    for name in given:
        text = name.replace("\\", "/")
        text = text[2:] if PureWindowsPath(text).drive else text
        if "\0" in text or not PurePosixPath(text).name:
            raise InputError(f"{table}: expected the path of an image, got {name[:80]!r}")
        paths[name] = Path(os.path.normpath(here / text))
    root = shared_folder(list(paths.values()))
    if images is not None and all(p.is_relative_to(plain_path(images)) for p in paths.values()):
        root = plain_path(images)
    names = {name: path.relative_to(root).as_posix() for name, path in paths.items()}
    lost = [name for name in given if not is_file(paths[name])]
    what = counted(
        len(lost),
        "image is not where its path says, and is looked for below one folder, e.g.",
        "images are not where their paths say, and are looked for below one folder, e.g.",
    )
    remarks = [f"{what} {one_line(lost[0])} as {names[lost[0]]}"] if lost else []
    return _Named(names, root if root.is_dir() and images is None else None, tuple(remarks))


def _with_suffix(table: Path, names: Mapping[str, str], images: Path | None) -> _Named:
    """Return the names with the suffix that the files have, looked for beside the table or in `images`."""
    for suffix in ("", *_OF_IMAGES):
        full = {
            given: name if PurePosixPath(name).suffix.lower() in SUFFIXES else f"{name}{suffix}"
            for given, name in names.items()
        }
        if images is not None:
            if any((images / name).is_file() for name in full.values()):
                return _Named(full, None)
            continue
        try:
            root = images_folder(table, list(full.values()), any_suffix=False)
            return _Named(full, root)
        except (
            InputError
        ):  # It says where it looked, and so will the check of the names as they are.
            continue
    return _Named(names, None)


def _table(path: Path, split: str | None) -> Path:
    """Return the file that holds the rows of a split."""
    if path.is_file():
        return path
    tables = _tables(path)
    named = _by_split(tables)
    if split in named:
        return named[split]
    if len(tables) != 1:
        shown = ", ".join(str(p.relative_to(path)) for p in tables[:4]) or "none"
        raise InputError(
            f"{path}: expected one table of boxes, found {shown}; name the file itself"
        )
    return tables[0]


def _tables(folder: Path) -> list[Path]:
    """Return the tables of boxes in a folder, and in its folders of splits."""
    folders = [folder, *(folder / name for name in split_folders(folder).values())]
    found = [
        base / name
        for base in folders
        for name in names_in(base)
        if name.lower().endswith(_SUFFIXES)
    ]
    return [p for p in found if p.is_file() and (_is_closed_split(p) or looks_like_boxes(p))]


def _is_closed_split(table: Path) -> bool:
    """Return whether a file that is named after a split may not be read, which is said where it is read."""
    return is_closed(table) and _split_of(table) is not None


def _by_split(tables: Sequence[Path]) -> dict[str, Path]:
    """Return the tables that are named after splits, or lie in folders that are."""
    named: dict[str, list[Path]] = {}
    for table in tables:
        split = _split_of(table)
        if split is not None:
            named.setdefault(split, []).append(table)
    order = [split for split in SPLITS if len(named.get(split, [])) == 1]
    return {split: named[split][0] for split in order}


def _split_of(table: Path) -> str | None:
    """Return the split that a table is named after, as train_labels.csv, or the folder that it lies in."""
    words = [split_in(word) for word in re.split(r"[-_. ]", table.stem)]
    found = [word for word in words if word]
    return found[0] if len(found) == 1 else split_in(table.parent.name) if not found else None


def _siblings(table: Path, path: Path) -> list[Path]:
    """Return the tables of all splits of the data set that a table belongs to."""
    if path.is_dir():
        tables = _by_split(_tables(path))
        return list(tables.values())
    split = _split_of(table)
    if split is None:
        return []
    in_own_folder = not any(split_in(word) for word in re.split(r"[-_. ]", table.stem))
    folder = table.absolute().parent.parent if in_own_folder else table.parent
    alike = [p for p in _tables(folder) if _pattern(p) == _pattern(table)]
    return list(_by_split(alike).values())


def _pattern(table: Path) -> str:
    """Return the name of a table without its split, which the tables of other splits share."""
    return "".join("*" if split_in(w) else w for w in re.split(r"([-_. ])", table.stem))


def _splits_in(table: Path) -> tuple[str, ...]:
    """Return the splits that the column of a table names, in the usual order."""
    if "split" not in columns_of(table).at:
        return ()
    found, _ = named_in(table)
    return tuple(sorted(found, key=lambda s: (SPLITS.index(s) if s in SPLITS else len(SPLITS), s)))


CSV = Format("CSV (file, x1, y1, x2, y2, class)", recognises, splits, read)
