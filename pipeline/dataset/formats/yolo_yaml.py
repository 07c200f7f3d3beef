"""The YAML file of a YOLO data set: its mapping, the names of its classes, and where its splits are."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....cache.errors import InputError
from ..coco_json import whole_number
from .files import read_text

MAX_UNNAMED = 10_000
"""The most classes that are known by their number alone."""
NOTHING = frozenset({"", "~", "null", "none"})
"""What stands for no value, in lower case."""
_YAML_BYTES = 2**21


def yaml_mapping(file: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds; all of its values are texts, lists and mappings."""
    import yaml

    try:
        # The base loader makes only texts: "no" is no bool, "007" no number, and no object is built.
        loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
        data = yaml.load(read_text(file, _YAML_BYTES), Loader=loader)  # noqa: S506
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        why = getattr(error, "problem", None) or "it cannot be read"
        raise InputError(f"{file}:{line} not YAML: {why}") from error
    if not isinstance(data, dict):
        raise InputError(
            f"{file}: expected a mapping with 'names' and 'train', got {reprlib.repr(data)}"
        )
    return data


def yaml_names(data: Mapping[str, Any], file: Path) -> dict[int, str]:
    """Return the names of the classes by number that a YAML file holds. Raises InputError."""
    given, count = data.get("names"), data.get("nc")
    number = whole_number(count)
    if count is not None and number is None:
        raise InputError(f"{file}: nc: expected a number of classes, got {reprlib.repr(count)}")
    if given is None or given == "":
        if number is None or not 1 <= number <= MAX_UNNAMED:
            raise InputError(f"{file}: names: expected the names of the classes, got nothing")
        return {k: f"class {k}" for k in range(number)}
    names = _named(given, file)
    if number is not None and number != len(names):
        raise InputError(
            f"{file}: nc is {number}, and names has {len(names)} classes; correct one of them"
        )
    return names


def _named(given: object, file: Path) -> dict[int, str]:
    if isinstance(given, list):
        given = {str(k): name for k, name in enumerate(given)}
    if not isinstance(given, dict) or not given:
        expected = "a list of names, or names by their number"
        raise InputError(f"{file}: names: expected {expected}, got {reprlib.repr(given)}")
    names: dict[int, str] = {}
    for key, name in given.items():
        number = whole_number(key)
        if number is None or number >= 2**31 or number in names:
            raise InputError(f"{file}: names: expected a class number, got {reprlib.repr(key)}")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{file}: names[{number}]: expected a name, got {reprlib.repr(name)}")
        names[number] = name.strip()
    return names


def split_places(given: object, where: str) -> tuple[str, ...]:
    """Return the places that a split is written with, a text or a list of texts."""
    values = given if isinstance(given, list) else [given]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values):
        raise InputError(f"{where}: expected a folder or a list of them, got {reprlib.repr(given)}")
    return tuple(text for text in texts if text.strip().lower() not in NOTHING)
