"""The settings that a command line gives, before defaults are added, and which of them came from a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...cache.errors import ConfigError
from .presets import config_file, is_preset
from .settings import read_toml, with_setting


@dataclass(frozen=True, slots=True)
class GivenSettings:
    """Sections of settings that were given.

    values: the sections, in which later words replace earlier ones. file: the sections of the file alone.
    origin: what the file is called in messages, "" where there is none.
    """

    values: Mapping[str, Any]
    file: Mapping[str, Any]
    origin: str = ""

    def with_flags(self, *, masks: bool, adapters: bool) -> GivenSettings:
        """Return the settings with those that --masks and --adapters stand for."""
        values = self.values
        for wanted, assignment in (
            (masks, "head.masks=true"),
            (adapters, "backbone.adapters=true"),
        ):
            values = with_setting(values, assignment) if wanted else values
        return replace(self, values=values)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name the file in a ConfigError that the block raises about a setting which the file brought."""
        try:
            yield
        except ConfigError as error:
            text = str(error)
            blamed = text.partition(";")[0]  # What follows are suggestions.
            if not any(quoted in blamed for quoted in self._quotations()):
                raise
            raise ConfigError(f"{self.origin}: {text}{self._made_for(text)}") from error

    def _quotations(self) -> Iterator[str]:
        """Yield how messages quote the file's settings, as far as nothing replaced them."""
        for section, settings in self.file.items():
            now = self.values.get(section)
            if not isinstance(settings, Mapping):
                if settings == now:
                    yield f"'{section}'"
                continue
            yield f"section '{section}'"
            for name, value in settings.items():
                if isinstance(now, Mapping) and now.get(name) == value:
                    yield f"'{section}.{name}'"
                    yield f"'{section}.{name}["
                    yield f"'{section}.{name}."
                    if name == "name":
                        yield f"unknown {section} {value!r}"

    def _made_for(self, text: str) -> str:
        """Return for which neck or head the file was made, where an option asks for another one."""
        for section in ("neck", "head"):
            theirs, now = (_name(values, section) for values in (self.file, self.values))
            if theirs and now != theirs and f"'{section}." in text:
                return f"; it is made for {section} {theirs}"
        return ""


def given_settings(
    path: Path | None = None,
    *,
    neck: str | None = None,
    head: str | None = None,
    assignments: Sequence[str] = (),
) -> GivenSettings:
    """Return what a file or preset, then the names, then each 'section.name=value' set.

    Raises ConfigError for a file that cannot be read, and for an assignment that is none.
    """
    file = read_toml(config_file(path)) if path else {}
    values: dict[str, Any] = dict(file)
    for section, name in (("neck", neck), ("head", head)):
        given = values.get(section, {})
        if name is not None and isinstance(given, Mapping):
            values[section] = {**given, "name": name}
    for assignment in assignments:
        values = with_setting(values, assignment)
    origin = "" if path is None else f"preset {path}" if is_preset(path) else str(path)
    return GivenSettings(values, file, origin)


def _name(values: Mapping[str, Any], section: str) -> str | None:
    settings = values.get(section)
    name = settings.get("name") if isinstance(settings, Mapping) else None
    return name if isinstance(name, str) else None
