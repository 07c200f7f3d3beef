"""The range of a setting, stated once, at its field: `lr: Annotated[float, at_least(0), "the peak rate"]`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from ..cache.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Range:
    """The values from `low` to `high`, both included. A word in place of a number is always allowed."""

    low: float
    high: float = math.inf

    def __contains__(self, value: object) -> bool:
        values = value if isinstance(value, tuple) else (value,)
        return all(
            isinstance(v, str) or (self.low <= v <= self.high and v < math.inf) for v in values
        )

    def __str__(self) -> str:
        return f"at least {self.low}" if self.high == math.inf else f"{self.low} to {self.high}"


def at_least(low: float) -> Range:
    """Return the range without an upper end."""
    return Range(low)


def between(low: float, high: float) -> Range:
    """Return the range from `low` to `high`."""
    return Range(low, high)


def range_of(hint: Any) -> Range | None:
    """Return the range that stands in an annotated type; None where there is none."""
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((extra for extra in extras if isinstance(extra, Range)), None)


def check_fields(section: str, settings: object) -> None:
    """Raise ConfigError for the first field of a dataclass that lies outside its range."""
    kind: Any = type(settings)
    for name, allowed in _ranges_of(kind):
        value = getattr(settings, name)
        if value not in allowed:
            shown = list(value) if isinstance(value, tuple) else value
            raise ConfigError(f"setting '{section}.{name}': expected {allowed}, got {shown}")


@cache
def _ranges_of(kind: Any) -> tuple[tuple[str, Range], ...]:
    """Return the fields of a dataclass that have a range, and that range."""
    hints = get_type_hints(kind, include_extras=True)
    found = ((name, range_of(hint)) for name, hint in hints.items())
    return tuple((name, allowed) for name, allowed in found if allowed is not None)
