"""Normalisation layers that suit the small batches of detection, by name."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn


def norm_layer(name: str) -> Callable[[int], nn.Module] | None:
    """channels -> layer. "gn": group normalisation with up to 32 groups; "none": None."""
    if name == "none":
        return None
    return lambda channels: nn.GroupNorm(math.gcd(32, channels), channels)
