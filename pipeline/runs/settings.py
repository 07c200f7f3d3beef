"""Strict parsing of mappings to frozen dataclasses; errors name the full path of what is wrong."""

from __future__ import annotations

import codecs
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ...cache.errors import ConfigError, did_you_mean
from ...cache.wording import counted

T = TypeVar("T")
# The maximum length of a list: more than anyone needs, and few enough to check each value.
_MOST_VALUES = 10_000


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file in UTF-8, or in UTF-16 or UTF-32 with its byte order mark. Raises ConfigError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"config {path}: {error.strerror}") from error
    text = _decoded(path, raw)
    try:
        return tomllib.loads(text.replace("\r\n", "\n").replace("\r", "\n"))
    except (ValueError, RecursionError) as error:  # not TOML, too long, too deep
        raise ConfigError(f"config {path}: not TOML: {error}") from error


# The longer marks come first, for that of UTF-32 begins with that of UTF-16.
_MARKS: Mapping[bytes, str] = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def _decoded(path: Path, raw: bytes) -> str:
    """Return the text of a file by its byte order mark, or as UTF-8. Raises ConfigError."""
    encoding = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), "utf-8-sig")
    wanted = "UTF-8" if encoding == "utf-8-sig" else f"{encoding.upper()} as its mark says"
    try:
        text = raw.decode(encoding)
        found = "UTF-16 without a byte order mark, or no text" if "\0" in text else ""
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{raw[error.start]:02x} in line {line}"
    if found:
        raise ConfigError(
            f"config {path}: not TOML: expected {wanted}, got {found}; save it as UTF-8"
        )
    return text


def with_setting(values: Mapping[str, Any], assignment: str) -> dict[str, Any]:
    """Return a copy in which 'section.name=value' is set. Raises ConfigError.

    The value is read as TOML, or as a plain word where it is none.
    """
    path, equals, text = assignment.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"--set {assignment!r}: expected section.name=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    changed = dict(values)
    section = changed
    for name in names[:-1]:
        inner = section.get(name, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {assignment!r}: {name!r} is a value, not a section")
        section[name] = dict(inner)
        section = section[name]
    section[names[-1]] = value
    return changed


def from_mapping(cls: type[T], values: object, path: str) -> T:
    """Make a dataclass from a mapping. Raises ConfigError.

    path: the path of the mapping within the settings, for messages.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"setting '{path}': expected a section, got {shown_value(values)}")
    hints = get_type_hints(cls)
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    for name in values:
        if name not in names:
            known = [f"{path}.{n}" for n in names]
            hint = did_you_mean(f"{path}.{name}", known)
            raise ConfigError(f"unknown setting '{path}.{name}'{hint}")
    checked = {n: _checked(hints[n], value, f"{path}.{n}") for n, value in values.items()}
    return cls(**checked)


def shown_value(value: object) -> str:
    """Return the repr of a value, or its type where repr fails.

    It fails for a value that is nested too deep, and for a number of thousands of digits.
    """
    try:
        return repr(value)
    except (ValueError, RecursionError):
        return f"one of type {type(value).__name__} that is too large to show"


def _checked(expected: Any, value: Any, path: str) -> Any:
    origin, arguments = get_origin(expected), get_args(expected)
    if origin is Annotated:
        return _checked(arguments[0], value, path)
    if origin is Literal:
        if value in arguments:
            return value
        raise ConfigError(
            f"setting '{path}': expected one of {list(arguments)}, got {shown_value(value)}"
        )
    if origin in (Union, UnionType):
        return _checked_union(arguments, value, path)
    if origin is tuple:
        return _checked_tuple(arguments, value, path)
    if expected is float and isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) < 2**53:
            return float(value)
        raise ConfigError(f"setting '{path}': expected a finite number, got {shown_value(value)}")
    if expected is int and isinstance(value, int) and abs(value) >= 2**63:
        raise ConfigError(f"setting '{path}': expected a smaller number, got {shown_value(value)}")
    if isinstance(value, expected) and (expected is bool or not isinstance(value, bool)):
        return value
    raise ConfigError(f"setting '{path}': expected {expected.__name__}, got {shown_value(value)}")


def _checked_union(kinds: tuple[Any, ...], value: Any, path: str) -> Any:
    """Check that a value is of a kind, one of the words that may replace it, or None if that is a kind."""
    if value is None and type(None) in kinds:
        return None
    words = [w for kind in kinds if get_origin(kind) is Literal for w in get_args(kind)]
    if isinstance(value, str) and value in words:
        return value
    others = [k for k in kinds if k is not type(None) and get_origin(k) is not Literal]
    if not others:
        raise ConfigError(f"setting '{path}': expected one of {words}, got {shown_value(value)}")
    try:
        return _checked(others[0], value, path)
    except ConfigError as error:
        raise ConfigError(f"{error}; or one of {words}" if words else str(error)) from error


def _checked_tuple(arguments: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"setting '{path}': expected a list, got {shown_value(value)}")
    if len(value) > _MOST_VALUES:
        raise ConfigError(
            f"setting '{path}': expected at most {_MOST_VALUES} values, got {len(value)}"
        )
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise ConfigError(
            f"setting '{path}': expected {counted(len(arguments), 'value')}, got {len(value)}"
        )
    pairs = enumerate(zip(arguments, value, strict=True))
    return tuple(_checked(kind, v, f"{path}[{k}]") for k, (kind, v) in pairs)
