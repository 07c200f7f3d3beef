"""The ids of COCO JSON, which are opaque: numbers, or any texts, as images, classes and objects name them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....cache.errors import InputError
from ....cache.wording import counted

Entry = tuple[str, dict[str, Any]]
"""A place in a file, such as images[3], and the entry there."""
# A float above this may stand for several integers.
_EXACT = 2**53


def whole_number(value: object) -> int | None:
    """Return the integer that a number or a text of digits stands for, or None: 7, 7.0 and "7" are 7."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return number if (number := int(value)) < 2**63 else None
    return None


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of a list's entries: integers, and the way from an id as it is written to a position."""

    numbers: list[int]
    key: Callable[[object], object]
    at: Mapping[object, int]

    def position(self, value: object) -> int | None:
        """Return the position of the entry that an id, as it is written, means; None where it means none."""
        if not isinstance(value, int | float | str) or isinstance(value, bool):
            return None
        return self.at.get(self.key(value))


def read_ids(entries: Sequence[Entry], what: str, source: str) -> tuple[Ids, list[str]]:
    """Read the ids of a list: integers >= 0 as they are, others numbered by their position from 1 on.

    what: what has these ids, for messages. Also returns a remark where ids are numbered. Raises InputError
    for values that are no ids, and for ids that are there twice.
    """
    given = [entry.get("id") for _, entry in entries]
    for (where, _), value in zip(entries, given, strict=True):
        if whole_number(value) is None and not (isinstance(value, str) and value):
            raise field_error(source, f"{where}.id", "an integer or a text", value)
    numbers = [whole_number(value) for value in given]
    whole = [n for n in numbers if n is not None]
    spelt_apart = len(set(whole)) < len(whole) and len(set(map(repr, given))) == len(given)
    if len(whole) < len(given) or spelt_apart:
        texts = [str(value) for value in given]
        return _numbered(texts, str, what, f"texts such as {texts[0]!r}", source)
    beyond = next((n for n in whole if not 0 <= n < 2**63), None)
    if beyond is not None:
        kind = "negative" if beyond < 0 else "2^63 or more"
        return _numbered(whole, whole_number, what, f"{kind}, such as {beyond!r:.40}", source)
    _refuse_repeated(whole, what, source)
    return Ids(whole, whole_number, {n: k for k, n in enumerate(whole)}), []


def _numbered(
    given: Sequence[int] | Sequence[str],
    key: Callable[[object], object],
    what: str,
    why: str,
    source: str,
) -> tuple[Ids, list[str]]:
    """Return ids that are numbered by their position from 1 on, and a remark that says why."""
    _refuse_repeated(given, what, source)
    remark = f"{what} ids are {why}: they are numbered from 1 on"
    ids = list(range(1, len(given) + 1))
    return Ids(ids, key, {each: k for k, each in enumerate(given)}), [remark]


def _refuse_repeated(ids: Sequence[int] | Sequence[str], what: str, source: str) -> None:
    if len(set(ids)) != len(ids):
        twice = [str(i) for i, n in Counter(ids).items() if n > 1]
        shown = ", ".join(twice[:5]) + (", ..." if len(twice) > 5 else "")
        ids_of = counted(len(twice), f"{what} id occurs", f"{what} ids occur")
        raise InputError(f"{source}: {ids_of} more than once: {shown}")


def field_error(source: str, where: str, expected: str, got: object) -> InputError:
    """Return the error for a field of a file that holds something else than is expected."""
    found = "nothing" if got is None else repr(got)[:80]
    return InputError(f"{source}: {where}: expected {expected}, got {found}")
