"""Figures and names as the sentences have them."""

from __future__ import annotations

from ..points import points


def in_points(share: float) -> str:
    """Return a share of one as points of AP, "2.1 points"."""
    return f"{points(share)} points"
