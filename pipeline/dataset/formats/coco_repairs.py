"""Small faults of COCO JSON whose meaning is certain, mended where the file is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....cache.wording import counted
from .files import number, one_line
from .format import Coco

# The lists whose entries are known by their ids, and what an entry of each is called.
_WITH_IDS: Mapping[str, tuple[str, str]] = {
    "images": ("image", "images"),
    "categories": ("category", "categories"),
}
# The fields that hold numbers, and what has them.
_NUMBERS: Mapping[str, tuple[str, ...]] = {
    "images": ("width", "height"),
    "annotations": ("bbox", "area", "segmentation"),
}
_OWNERS = {"images": ("image has", "images have"), "annotations": ("object has", "objects have")}


class RepeatedKey(Exception):
    """A key that one JSON object has twice, with different values."""


def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. Raises RepeatedKey, where json itself would keep the last of two values."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    for key, value in pairs:
        if found[key] != value:
            of = next((f" (that with the id {v})" for k, v in pairs if k == "id"), "")
            raise RepeatedKey(f"an object{of} has the key {one_line(key)!r} twice")
    return found


def repaired(data: Coco) -> tuple[Coco, list[str]]:
    """Return COCO form without these faults, and a sentence for each kind of them.

    Entries of images and categories that repeat another one are taken once, and numbers that are written as
    texts become numbers.
    """
    remarks = list[str]()
    for name, (one, several) in _WITH_IDS.items():
        kept, twice = _without_repeats(data.get(name))
        if twice:
            data = {**data, name: kept}
            what = counted(len(twice), f"{one} is", f"{several} are")
            remarks.append(
                f"{what} listed twice with the same values: each is taken once: {twice[0]}"
            )
    for name, fields in _NUMBERS.items():
        entries, count = _with_numbers(data.get(name), fields)
        if count:
            data = {**data, name: entries}
            what = counted(count, *_OWNERS[name])
            remarks.append(f"{what} numbers that are written as texts: they are read as numbers")
    return data, remarks


def _without_repeats(entries: object) -> tuple[list[Any], list[str]]:
    """Return the entries of a list, each once, and the ids of those that repeat an earlier one."""
    if not isinstance(entries, list):
        return [], []
    first: dict[str, Any] = {}
    kept, twice = [], []
    for entry in entries:
        key = repr(entry.get("id")) if isinstance(entry, dict) else ""
        if key and key in first and first[key] == entry:
            twice.append(one_line(str(entry.get("file_name", entry.get("name", key)))))
            continue
        first.setdefault(key, entry)
        kept.append(entry)
    return kept, twice


def _with_numbers(entries: object, fields: Sequence[str]) -> tuple[list[Any], int]:
    """Return entries with numbers in place of texts that are numbers, and how many have changed."""
    if not isinstance(entries, list):
        return [], 0
    changed = [_with_number(entry, fields) for entry in entries]
    return changed, sum(new is not old for new, old in zip(changed, entries, strict=True))


def _with_number(entry: Any, fields: Sequence[str]) -> Any:
    """Return an entry with numbers in place of texts that are numbers; the same one where it has none."""
    if not isinstance(entry, dict):
        return entry
    new = {name: _plain(entry[name]) for name in fields if _has_text(entry.get(name))}
    return {**entry, **new} if any(new[name] != entry[name] for name in new) else entry


def _has_text(value: object) -> bool:
    """Return whether a value is a text, or a list with one; of lists within it the first tells of all."""
    if isinstance(value, list) and value:
        return _has_text(value[0]) if isinstance(value[0], list) else str in map(type, value)
    return isinstance(value, str)


def _plain(value: Any) -> Any:
    """Return a value with numbers in place of the texts in it that are numbers."""
    if isinstance(value, list):
        return [_plain(part) for part in value]
    found = number(value.strip()) if isinstance(value, str) else None
    return value if found is None else found
