"""Every setting of a run, read from the fields of its dataclasses: name, default, values and help."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ...cache.errors import InputError, did_you_mean
from ...heads.build import HEADS
from ...heads.necks import NECKS
from ...heads.ranges import range_of
from .config import RunConfig

_FAMILIES: Mapping[str, Mapping[str, Any]] = {"neck": NECKS, "head": HEADS}


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a run.

    name: its path, e.g. "optim.lr". of: the necks or heads that have it, "" for all. values: its type and
    range, in words. default: its default as TOML writes it.
    """

    name: str
    of: str
    default: str
    values: str
    help: str


def described_settings(section: str | None = None) -> list[Setting]:
    """Return all settings, or those of one section. Raises InputError for a section that does not exist."""
    config = RunConfig()
    names = [field.name for field in fields(config)]
    if section is not None and section not in names:
        raise InputError(f"settings {section!r}{did_you_mean(section, names)}")
    found: list[Setting] = []
    for name in names if section is None else [section]:
        if name in _FAMILIES:
            found += _of_family(name, _FAMILIES[name])
        else:
            found += _of_values(name, getattr(config, name))
    return found


def _of_family(section: str, families: Mapping[str, Any]) -> Iterator[Setting]:
    """Yield the choice of the member, then each setting once, with the members that share it."""
    default = json.dumps(getattr(RunConfig(), section).name)
    yield Setting(f"{section}.name", "", default, ", ".join(families), f"which {section}")
    members: dict[Setting, list[str]] = {}
    for name, family in families.items():
        for setting in _of_values(section, family.settings()):
            members.setdefault(setting, []).append(name)
    for setting, names in members.items():
        yield replace(setting, of="" if len(names) == len(families) else ", ".join(names))


def _of_values(section: str, values: Any) -> Iterator[Setting]:
    hints = get_type_hints(type(values), include_extras=True)
    for field in fields(values):
        hint = hints[field.name]
        text = next((extra for extra in get_args(hint)[1:] if isinstance(extra, str)), "")
        if get_origin(hint) is Annotated:
            default = json.dumps(getattr(values, field.name))
            yield Setting(f"{section}.{field.name}", "", default, _words(hint), text)


def _words(hint: Any) -> str:
    """Return what values a type allows, e.g. "a number, at least 0; or auto"."""
    kind, allowed = get_args(hint)[0], range_of(hint)
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    words = [word for k in kinds if get_origin(k) is Literal for word in get_args(k)]
    others = [_KINDS.get(k, "a list") for k in kinds if get_origin(k) is not Literal]
    first = ", ".join([*others, *([str(allowed)] if allowed else [])])
    return "; or ".join(filter(None, [first, ", ".join(words)]))


_KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}


def as_markdown(settings: Sequence[Setting]) -> str:
    """Return the settings as a table in Markdown."""
    lines = ["| setting | of | default | values | |", "|---|---|---|---|---|"]
    for s in settings:
        cells = (f"`{s.name}`", s.of, f"`{s.default}`", s.values, s.help)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def as_paragraphs(settings: Sequence[Setting], width: int) -> list[str]:
    """Return the lines of a paragraph for each setting, for a terminal too narrow for a table."""
    lines: list[str] = []
    for s in settings:
        only = f" ({s.of})" if s.of else ""
        head = f"{s.name}={s.default}{only}: {s.values}"
        lines += _wrapped(head, width, " " * 2)
        lines += _wrapped(" " * 4 + s.help, width, " " * 4)
    return lines


def _wrapped(text: str, width: int, hanging: str) -> list[str]:
    """Return a text in lines that break at spaces alone, so that names stay whole."""
    return textwrap.wrap(
        text,
        width,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
