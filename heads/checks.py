"""Checks of settings, which settings run on themselves when they are made."""

from __future__ import annotations

import math
from typing import Literal

from ..cache.errors import ConfigError

# This stands for a value that a run takes from its training data or its machine, and then keeps.
Auto = Literal["auto"]


def check_range(name: str, value: float | str, low: float, high: float = math.inf) -> None:
    """Raise ConfigError unless low <= value <= high, or the value is a word in place of a number."""
    if isinstance(value, str):
        return
    if not low <= value <= high:
        limit = f"at least {low}" if high == math.inf else f"{low} to {high}"
        raise ConfigError(f"setting '{name}': expected {limit}, got {value}")


def check_anchors(scales: tuple[float, ...] | str, ratios: tuple[float, ...]) -> None:
    """Raise ConfigError unless there are a scale and a ratio, all of them positive; scales may be a word.

    There may be at most 1000 anchors per location.
    """
    if isinstance(scales, str):
        scales = (1.0,)
    for name, values in (("head.anchor_scales", scales), ("head.ratios", ratios)):
        if not values or min(values) <= 0:
            raise ConfigError(f"setting '{name}': expected positive numbers, got {list(values)}")
    if len(scales) * len(ratios) > 1000:
        raise ConfigError("setting 'head.anchor_scales': more than 1000 anchors per location")
