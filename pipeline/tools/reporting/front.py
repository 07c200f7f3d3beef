"""Pareto: what nothing else beats in both AP and cost."""

from __future__ import annotations

from collections.abc import Sequence


def front(points: Sequence[tuple[float | None, float | None]]) -> list[int]:
    """Positions of the (cost, AP) that no other reaches at the same cost or less, cheapest first; of
    equal ones the first. Those without a figure are left out.
    """
    known = [
        (cost, -ap, k) for k, (cost, ap) in enumerate(points) if cost is not None and ap is not None
    ]
    chosen: list[int] = []
    lowest = float("inf")
    for _, negative, k in sorted(known):
        if negative < lowest:
            lowest = negative
            chosen.append(k)
    return chosen
