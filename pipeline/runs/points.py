"""AP, and shares like precision, as people are told them: points of 0 to 100. Files keep fractions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from ...cache.errors import shown
from .names import shortened

# How many of the best and of the worst classes a line names, and the characters of a name.
NAMED, NAME_LENGTH = 3, 15


def points(share: float | None) -> str:
    """Return a share of one in points, "67.3", or "-" for one that is not defined."""
    return "-" if share is None or not math.isfinite(share) else f"{100 * share:.1f}"


def class_lines(per_class: Mapping[str, float | None]) -> Iterator[str]:
    """Yield the lines with the APs of the best and the worst classes; of one class nothing is yielded.

    Few classes take one line, from the best to the worst. Those without an AP are left out.
    """
    known = sorted(
        ((ap, name) for name, ap in per_class.items() if ap is not None), key=lambda each: -each[0]
    )
    if len(known) < 2:
        return
    if len(known) <= NAMED:
        yield f"AP by class: {_listed(known)}"
        return
    worst = min(NAMED, len(known) - NAMED)
    yield f"best classes: {_listed(known[:NAMED])}"
    yield f"worst classes: {_listed(known[-worst:][::-1])}"


def _listed(known: Sequence[tuple[float, str]]) -> str:
    return ", ".join(f"{shortened(shown(name), NAME_LENGTH)} {points(ap)}" for ap, name in known)
