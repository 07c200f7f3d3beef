"""The ids of the classes of tables: those of a file beside them, or from 1 in the order of the names."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from ....cache.errors import InputError
from ..coco.ids import whole_number
from .assembly import numbered
from .files import one_line, read_text

# Files with a class and its id in each line, the likeliest first.
_MAPS = ("classes.csv", "class_map.csv", "class_mapping.csv", "class_list.csv", "labels.csv")
# Open Images' codes and names of classes.
_DESCRIPTIONS = "*class-descriptions*.csv"


def class_ids(labels: set[str], folders: Sequence[Path]) -> tuple[dict[str, int], bool, list[str]]:
    """Return the id of each class, whether they are numbered here, and sentences on what was assumed.

    labels: the classes of all splits. folders: where a file with their ids may be. Raises InputError.
    """
    files = [folder / name for folder in folders for name in _MAPS if (folder / name).is_file()]
    remarks = []
    for file in files:
        given, twice = _map(file)
        if twice and not labels <= set(given):
            remarks.append(f"{file.name} is no list of classes and is not used: {twice}")
            continue
        if twice:
            raise InputError(f"{file}: {twice}")
        if not given:
            continue
        if lacking := sorted(labels - set(given)):
            if labels & set(given):
                raise InputError(
                    f"{file}: expected all classes of the table, got none named {lacking[0]!r}"
                )
            remarks.append(f"{file.name} has none of the classes of the table and is not used")
            continue
        return given, False, [f"the ids of the classes are those of {file}"]
    numbers = {label: whole_number(label) for label in labels}
    known = [number for number in numbers.values() if number is not None]
    if len(set(known)) == len(labels):
        given = {label: number for label, number in numbers.items() if number is not None}
        return given, False, remarks
    return numbered(labels), True, remarks


def described(labels: set[str], folders: Sequence[Path]) -> dict[str, str]:
    """Return the names of classes that are written as codes, such as /m/011k07; {} where no file has them."""
    for file in (f for folder in folders for f in sorted(folder.glob(_DESCRIPTIONS))):
        names = {row[0]: row[1] for _, row in _pairs(file) if row[1]}
        if labels <= set(names) and len({names[label] for label in labels}) == len(labels):
            return {label: names[label] for label in labels}
    return {}


def _map(file: Path) -> tuple[dict[str, int], str]:
    """Return the ids of a file of classes, and what it has twice, if anything; {} for other files."""
    ids: dict[str, int] = {}
    used: set[int] = set()
    twice = ""
    for line, (first, second) in _pairs(file):
        name, number = (first, whole_number(second))
        if number is None:
            name, number = second, whole_number(first)
        if number is None:
            if line == 1:
                continue  # its header
            return {}, ""
        if not twice and (name in ids or number in used):
            twice = f"line {line}: class {one_line(name)!r} with the id {number} is there already"
        ids[name] = number
        used.add(number)
    return ids, twice


def _pairs(file: Path) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield the line and the two cells of each row; none of a file with other rows."""
    text = read_text(file)
    delimiter = max((",", ";", "\t"), key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, [c.strip() for c in row]) for row in reader if any(row)]
    except csv.Error as error:
        raise InputError(f"{file}: line {reader.line_num}: not CSV: {error}") from error
    if all(len(row) == 2 for _, row in rows):
        yield from ((line, (row[0], row[1])) for line, row in rows)
