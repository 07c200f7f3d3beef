"""Sizes in bytes, as people write and read them."""

from __future__ import annotations

import math
import re

from ..errors import InputError

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def parse_bytes(text: str, option: str) -> int:
    """Parse '4GiB', '3500MB' or '4e9'. option: the option that the message names. Raises InputError."""
    match = re.fullmatch(r"([0-9]+\.?[0-9]*(?:e[0-9]{1,2})?) ?([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _UNITS or float(match[1]) * _UNITS[match[2]] < 1:
        raise InputError(f"{option} {text!r}: expected bytes, e.g. 4GiB, 3500MB or 4e9")
    return int(float(match[1]) * _UNITS[match[2]])


def megabytes(count: float, digits: int = 1) -> str:
    """Format a size as '12.3 MB', and one below 0.1 MB as '41.2 kB'."""
    return f"{count / 1e6:.{digits}f} MB" if count >= 1e5 else f"{count / 1e3:.3g} kB"


def format_bytes(count: float) -> str:
    """Format a size as '3.1 GiB', '420 MiB' or '12 KiB'."""
    if count >= 2**30:
        return f"{count / 2**30:.1f} GiB"
    return f"{count / 2**20:.0f} MiB" if count >= 2**20 else f"{math.ceil(count / 2**10)} KiB"
