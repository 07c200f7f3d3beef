"""The columns of a table of boxes: which of them is the file, the corners, the class and more."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

from ....cache.errors import InputError
from ....cache.wording import counted
from ..coco.ids import whole_number
from ..images.files import SUFFIXES
from .files import MAX_TABLE_BYTES, head_of, is_closed, number, one_line, read_text, state_of

# The names that programs give to columns, in lower case and without signs, the likeliest first.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "file": (
        *("imagepath", "filename", "path", "filepath", "file", "imgpath", "imagename", "image"),
        *("img", "imageid", "imgname"),
    ),
    "x1": ("x1", "xmin", "left", "minx", "bboxx1", "bboxxmin"),
    "y1": ("y1", "ymin", "top", "miny", "bboxy1", "bboxymin"),
    "x2": ("x2", "xmax", "right", "maxx", "bboxx2", "bboxxmax"),
    "y2": ("y2", "ymax", "bottom", "maxy", "bboxy2", "bboxymax"),
    "label": (
        "class",
        "label",
        "classname",
        "labelname",
        "category",
        "categoryname",
        "name",
        "classid",
    ),
    "width": ("width", "imagewidth", "imgwidth"),
    "height": ("height", "imageheight", "imgheight"),
    "split": ("split", "set", "subset", "partition", "mlset"),
    "crowd": ("isgroupof", "iscrowd", "difficult"),
    "score": ("score", "confidence", "probability"),
}
_NEEDED = ("file", "x1", "y1", "x2", "y2", "label")
_CORNERS = _NEEDED[1:5]
# What stands in a cell without a value.
_NOTHING = frozenset({"nan", "na", "n/a", "<na>", "null", "none", "#n/a", "\\n"})
_DELIMITERS = (",", ";", "\t")
_FORM = "the columns file, x1, y1, x2, y2, class"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: its line, the image and its size, and the object unless there is none.

    corners: x1, y1, x2, y2 in px, or as fractions where the table has those. written: the class with the
    blanks around it.
    """

    line: int
    file: str
    hw: tuple[int, int] | None
    corners: tuple[float, ...]
    label: str
    split: str
    crowd: bool
    written: str


@dataclass(frozen=True, slots=True)
class Columns:
    """The position of each column that is known by its meaning.

    headed: whether the first row names them. fractions: whether corners are fractions of the image, as in
    Open Images. others: the columns that are not used although they might be one of these, each with the one
    that is.
    """

    at: Mapping[str, int]
    delimiter: str
    headed: bool
    fractions: bool
    others: Mapping[str, str] = field(default_factory=dict)


def looks_like_boxes(file: Path) -> bool:
    """Return whether the first row of a file is one of a table of boxes, or names its columns."""
    return isinstance(_columns(head_of(file)), Columns)


def columns_of(file: Path) -> Columns:
    """Return the columns of a table. Raises InputError that names what is missing."""
    if is_closed(file):
        raise InputError(f"{file}: Permission denied")
    found = _columns(head_of(file))
    if isinstance(found, str):
        raise InputError(f"{file}: line 1: {found}")
    return found


def read_rows(file: Path, columns: Columns) -> Iterator[Row]:
    """Yield the rows of a table. Raises InputError that names the line."""
    reader = csv.reader(
        io.StringIO(read_text(file, MAX_TABLE_BYTES), newline=""),
        delimiter=columns.delimiter,
        strict=True,
        skipinitialspace=True,
    )
    header = columns.headed
    width = 0
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            width = width or len(cells)
            if len(cells) != width:
                raise InputError(
                    f"{file}: line {reader.line_num}: expected {width} columns, got {len(cells)}"
                )
            if header:
                header = False
                continue
            written = row[columns.at["label"]]
            yield _row(
                cells, columns.at, reader.line_num, f"{file}: line {reader.line_num}", written
            )
    except csv.Error as error:
        raise InputError(f"{file}: line {reader.line_num}: not CSV: {error}") from error


def named_in(file: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Return the splits and the classes that a table names; it is read once, until it changes.

    Raises InputError.
    """
    return _named_in(file, state_of(file))


# The rows themselves are not kept: those of a large table would fill the memory.
@lru_cache(maxsize=16)
def _named_in(file: Path, state: tuple[int, int]) -> tuple[frozenset[str], frozenset[str]]:
    splits, labels = set(), set()
    for row in read_rows(file, columns_of(file)):
        splits.add(row.split)
        labels.add(row.label)
    return frozenset(splits - {""}), frozenset(labels - {""})


def _columns(head: str) -> Columns | str:
    """Return the columns that the beginning of a table has, or what it lacks."""
    first = next((line for line in head.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        cells = [c.strip() for c in next(csv.reader([first], delimiter=delimiter), [])]
    except csv.Error as error:
        return f"not CSV: {error}"
    names = [re.sub(r"[^a-z0-9]", "", cell.casefold()) for cell in cells]
    at, others = dict[str, int](), dict[str, str]()
    for meaning, aliases in _ALIASES.items():
        found = [alias for alias in aliases if alias in names]
        if not found:
            continue
        at[meaning] = names.index(found[0])
        if names.count(found[0]) > 1:
            twice = cells[len(names) - 1 - names[::-1].index(found[0])]
            return f"two columns are called {one_line(twice)!r}; rename one of them"
        if meaning in _NEEDED:
            used = cells[at[meaning]]
            others |= {cells[names.index(alias)]: used for alias in found[1:]}
    if all(meaning in at for meaning in _NEEDED):
        return Columns(at, delimiter, True, {"imageid", "labelname"} <= set(names), others)
    if len(cells) == len(_NEEDED) and _is_row(cells):
        return Columns({n: k for k, n in enumerate(_NEEDED)}, delimiter, False, False)
    if len(set(at) & set(_NEEDED)) >= 2:
        lacking = ", ".join(meaning for meaning in _NEEDED if meaning not in at)
        return f"expected {_FORM}; no column is named for {lacking}"
    return f"expected {_FORM}, got {counted(len(cells), 'column')}: {first[:80]!r}"


def _is_row(cells: Sequence[str]) -> bool:
    """Return whether cells are those of a row without a header: an image and, if any, an object."""
    corners = cells[1:5]
    boxed = all(number(cell) is not None for cell in corners) and bool(cells[5])
    image = PurePosixPath(cells[0]).suffix.lower() in SUFFIXES
    return bool(cells[0]) and (boxed or (image and not any(map(_filled, corners))))


def _filled(cell: str) -> str:
    """Return a cell, "" where it says that there is nothing, as pandas, R and databases write it."""
    return "" if cell.casefold() in _NOTHING else cell


def _row(cells: Sequence[str], at: Mapping[str, int], line: int, where: str, written: str) -> Row:
    given = {
        meaning: cells[position] if meaning in ("file", "label") else _filled(cells[position])
        for meaning, position in at.items()
    }
    if not given["file"]:
        raise InputError(f"{where}: expected the name of an image, got nothing")
    corners = [given[name] for name in _CORNERS]
    written_at = {name: cells[at[name]] for name in _CORNERS}
    values = tuple(_corner(written_at[n], n, where) for n in _CORNERS) if any(corners) else ()
    if not given["label"] and not any(values):
        values = ()  # Four zeros and no class stand for an image without an object.
    if values and not given["label"]:
        raise InputError(f"{where}: expected a class, got nothing")
    if "split" in given and not given["split"]:
        raise InputError(f"{where}: split: expected the name of a split, got nothing")
    return Row(
        line,
        given["file"],
        _size(given, where),
        values,
        given["label"] if values else "",
        given.get("split", "").casefold(),
        _flag(given.get("crowd", ""), where),
        written if values else "",
    )


def _corner(cell: str, name: str, where: str) -> float:
    value = number(cell)
    if value is None:
        hint = "; write a decimal point" if "," in cell else ""
        raise InputError(f"{where}: {name}: expected a finite number, got {cell[:40]!r}{hint}")
    return value


def _size(given: Mapping[str, str], where: str) -> tuple[int, int] | None:
    """Return (rows, columns); None where they are absent or 0."""
    found = []
    for name in ("height", "width"):
        cell = given.get(name, "")
        value = number(cell)
        whole = None if value is None else whole_number(value)
        if cell and (whole is None or not 0 <= whole < 2**31):
            raise InputError(f"{where}: {name}: expected whole px, got {cell[:40]!r}")
        found.append(whole or 0)
    return (found[0], found[1]) if all(found) else None


def _flag(cell: str, where: str) -> bool:
    # Open Images writes -1 where it is not known.
    if cell.casefold() not in ("", "0", "1", "-1", "true", "false", "0.0", "1.0"):
        raise InputError(f"{where}: expected 0 or 1 for a group of objects, got {cell[:40]!r}")
    return cell.casefold() in ("1", "1.0", "true")
