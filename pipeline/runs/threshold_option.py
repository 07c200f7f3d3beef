"""The values of --threshold: a score, or "auto"; it imports next to nothing, as --help reads it."""

from __future__ import annotations

from typing import Literal

from ...cache.errors import InputError

# The threshold where no evaluation says a better one.
DRAWN = 0.3
Auto = Literal["auto"]
AUTO: Auto = "auto"


def check_threshold(name: str, given: float | Auto) -> None:
    """Raise InputError for a threshold that is neither a score nor "auto". name: the option or parameter."""
    if given != AUTO and (isinstance(given, str) or not 0 <= given <= 1):
        raise InputError(f"{name}: expected 0 to 1, or {AUTO}, got {given}")
