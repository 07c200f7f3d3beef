"""An extension: a run that was given more epochs after it had begun; run.json states each one.

An extended run is not the run that had all of its epochs from the start, since its learning rate followed the
shorter schedule first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...cache.wording import counted


class Extension(NamedTuple):
    """An extension of a run. epochs: its length before. step: the steps that it had done by then."""

    epochs: int
    step: int

    def __str__(self) -> str:
        return f"from {counted(self.epochs, 'epoch')}, at step {self.step}"


def parse_extensions(values: Any) -> tuple[Extension, ...]:
    """Return the extensions that run.json lists as pairs. Raises ValueError, TypeError."""
    found = tuple(Extension(*pair) for pair in values)
    for numbers in found:
        if not all(type(number) is int and 0 <= number < 2**53 for number in numbers):
            raise ValueError(f"extended: expected whole numbers, got {list(numbers)}")
    return found


def shown_extensions(extensions: Sequence[Extension]) -> str:
    """Return the extensions in words, "" for none."""
    return "; ".join(map(str, extensions))
