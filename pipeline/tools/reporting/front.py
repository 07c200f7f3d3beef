"""The Pareto front: the points that no other beats in both AP and cost."""

from __future__ import annotations

from collections.abc import Sequence


def front(points: Sequence[tuple[float | None, float | None]]) -> list[int]:
    """Return the positions of the points (cost, AP) on the Pareto front, cheapest first.

    No other point reaches the AP of these at the same cost or less; of equal points the first one counts.
    Points without a cost or an AP are left out.
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
