"""The YAML file of a YOLO data set: its mapping, the names of its classes, and where its splits are."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ....cache.errors import InputError
from ....cache.wording import counted
from ..coco.ids import whole_number
from .files import one_line, read_text

MAX_UNNAMED = 10_000
"""The most classes that are known by their number alone."""
NOTHING = frozenset({"", "~", "null", "none"})
"""The texts that stand for no value, in lower case."""
_YAML_BYTES = 2**21
# The most letters and values that a YAML file may stand for, and that a message shows.
_MAX_SIZE, _SHOWN = 2**23, 80


def yaml_mapping(file: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds; all of its values are texts, lists and mappings."""
    import yaml

    text = read_text(file, _YAML_BYTES)
    try:
        # The base loader makes only texts: "no" is no bool, "007" no number, and no object is built.
        loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)(text)
        node = loader.get_single_node()
        if _size_of(node, {}, file) > _MAX_SIZE:
            raise InputError(
                f"{file}: its aliases (*name) stand for more than {_MAX_SIZE} letters; write them out"
            )
        data = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        why = getattr(error, "problem", None) or "it cannot be read"
        raise InputError(f"{file}:{line} not YAML: {why}") from error
    if not isinstance(data, dict):
        raise InputError(f"{file}: expected a mapping with 'names' and 'train', got {shown(data)}")
    return data


def _size_of(node: Any, known: dict[int, float], file: Path) -> float:
    """Return how many letters and values a YAML node holds, with what its aliases stand for.

    known: the sizes of the nodes that were met. Raises InputError for a mapping that has a key twice.
    """
    if node is None or id(node) in known:
        return known.get(id(node), 0)
    known[id(node)] = math.inf  # It holds itself where it is met again before its end.
    inside = node.value
    if isinstance(inside, list) and inside and isinstance(inside[0], tuple):
        _refuse_repeated([key for key, _ in inside], file)
        inside = [part for pair in inside for part in pair]
    size = len(inside) + 1.0
    if isinstance(inside, list):
        size += sum(_size_of(part, known, file) for part in inside)
    known[id(node)] = size
    return size


def _refuse_repeated(keys: Sequence[Any], file: Path) -> None:
    seen = set[str]()
    for key in keys:
        if isinstance(key.value, str) and key.value in seen:
            line = key.start_mark.line + 1
            raise InputError(
                f"{file}: line {line}: {one_line(key.value)!r} is there already; take one of them out"
            )
        if isinstance(key.value, str):
            seen.add(key.value)


def shown(value: object) -> str:
    """Return a value of a YAML file for a message."""
    text = reprlib.repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def yaml_names(data: Mapping[str, Any], file: Path) -> dict[int, str]:
    """Return the names of the classes by number that a YAML file holds. Raises InputError."""
    given, count = data.get("names"), data.get("nc")
    number = whole_number(count)
    if count is not None and number is None:
        raise InputError(f"{file}: nc: expected a number of classes, got {shown(count)}")
    if given is None or given == "":
        if number is None or not 1 <= number <= MAX_UNNAMED:
            raise InputError(f"{file}: names: expected the names of the classes, got nothing")
        return {k: f"class {k}" for k in range(number)}
    names = _named(given, file)
    if number is not None and number != len(names):
        listed = counted(len(names), "class", "classes")
        raise InputError(f"{file}: nc is {number}, and names has {listed}; correct one of them")
    return names


def _named(given: object, file: Path) -> dict[int, str]:
    if isinstance(given, list):
        given = {str(k): name for k, name in enumerate(given)}
    if not isinstance(given, dict) or not given:
        expected = "a list of names, or names by their number"
        raise InputError(f"{file}: names: expected {expected}, got {shown(given)}")
    names: dict[int, str] = {}
    for key, name in given.items():
        number = whole_number(key)
        if number is None or number >= 2**31 or number in names:
            raise InputError(f"{file}: names: expected a class number, got {shown(key)}")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{file}: names[{number}]: expected a name, got {shown(name)}")
        names[number] = name.strip()
    return names


def split_places(given: object, where: str) -> tuple[str, ...]:
    """Return the places that a split is written with, a text or a list of texts."""
    values = given if isinstance(given, list) else [given]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values):
        raise InputError(f"{where}: expected a folder or a list of them, got {shown(given)}")
    return tuple(text for text in texts if text.strip().lower() not in NOTHING)
