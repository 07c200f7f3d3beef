"""Durations, as people write them and as they are displayed."""

from __future__ import annotations

import math
import re

from ...cache.errors import InputError

_SECONDS = {"d": 86400, "h": 3600, "m": 60, "min": 60, "s": 1}
_PART = r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(d|h|min|m|s) ?"


def parse_duration(text: str, option: str) -> float:
    """Return the seconds of '30m', '1h30m', '1.5h' or '90s'; every number has a unit.

    option: the option that the message names. Raises InputError.
    """
    given = text.strip().lower()
    parts = re.findall(_PART, given)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not re.fullmatch(f"(?:{_PART})+", given) or not _descending(parts) or seconds <= 0:
        raise InputError(f"{option} {text!r}: expected a time, e.g. 30m, 1h30m or 90s")
    return seconds


def _descending(parts: list[tuple[str, str]]) -> bool:
    """Return whether each unit is smaller than the one before, so that none is given twice."""
    units = [_SECONDS[unit] for _, unit in parts]
    return units == sorted(set(units), reverse=True)


def written_duration(seconds: float) -> str:
    """Return a duration as `parse_duration` reads it, rounded up to a whole minute: `7m`, `1h05m`."""
    hours, minutes = divmod(max(1, math.ceil(seconds / 60)), 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m"


def shown_time(seconds: float) -> str:
    """Return a duration as it is displayed: `0.02 s`, `4.5 s`, `40 s`, `12 min`, `3.5 h`."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


def hours_minutes(seconds: float) -> str:
    """Return a duration as h:mm, rounded up to a whole minute: `0:01`, `1:05`, `120:00`."""
    hours, minutes = divmod(math.ceil(max(0.0, seconds) / 60), 60)
    return f"{hours}:{minutes:02d}"
