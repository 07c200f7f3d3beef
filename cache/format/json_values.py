"""Values of a JSON file of which nobody knows who wrote it, each of the expected type and range.

All functions raise TypeError or ValueError, with what was expected and what was found.
"""

from __future__ import annotations

import math
from typing import Any


def text_of(value: Any) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {value!r:.80}")
    return value


def whole_of(value: Any, low: int = -(2**63), high: int = 2**63 - 1) -> int:
    """Return a whole number from `low` to `high`, by default one of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected a whole number, got {value!r:.80}")
    if not low <= value <= high:
        raise ValueError(f"expected a whole number from {low} to {high}, got {value!r:.80}")
    return value


def number_of(value: Any, low: float, high: float) -> float:
    """Return a finite number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, got {value!r:.80}")
    # A whole number may be too large for a float.
    if not low <= value <= high or not math.isfinite(value):
        raise ValueError(f"expected a number from {low} to {high}, got {value!r:.80}")
    return float(value)


def list_of(value: Any) -> list[Any]:
    """Return a list."""
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {value!r:.80}")
    return value


def mapping_of(value: Any) -> dict[str, Any]:
    """Return an object."""
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {value!r:.80}")
    return value
