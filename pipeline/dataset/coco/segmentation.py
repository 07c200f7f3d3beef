"""The COCO "segmentation" of an object, read and checked: polygons, or run lengths of the whole image."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from ....cache.wording import counted
from ..images.decoding import MAX_PIXELS

# The maximum perimeter of a polygon in px. COCO's C rasterisers allocate some 80 bytes for each of these
# pixels, and crash where the allocation fails.
_LONGEST = 2**22
_POLYGONS = "polygons [x, y, x, y, x, y, ...]"


def read_segmentation(given: object, hw: tuple[int, int]) -> tuple[bool, list[list[float]]]:
    """Read a "segmentation": whether it is run lengths, and its rings, as `packed_outlines` takes them.

    hw: the size of the image. Raises ValueError that says what is expected and what was given.
    """
    if hw[0] * hw[1] > MAX_PIXELS:
        raise _error("", f"an image of at most {MAX_PIXELS} pixels", f"{hw[1]} x {hw[0]}")
    if isinstance(given, dict):
        return True, [_runs(given, hw)]
    if not isinstance(given, list) or not given:
        raise _error("", "polygons or run lengths, which masks need", _abbreviated(given))
    return False, [_ring(ring, hw) for ring in given]


def _ring(ring: object, hw: tuple[int, int]) -> list[float]:
    far, long = 2 * max(hw), min(hw[0] * hw[1] + 8 * sum(hw), _LONGEST)
    if not isinstance(ring, list) or len(ring) < 6 or len(ring) % 2:
        raise _error("", _POLYGONS, _abbreviated(ring))
    if not all(type(v) in (int, float) and abs(v) <= far for v in ring):
        raise _error("", f"{_POLYGONS} within {far} px", _abbreviated(ring))
    if len(ring) * far > long and (length := _perimeter(ring)) > long:
        raise _error("", f"polygons of at most {long} px around", f"{length:.0f}")
    return ring


def _perimeter(ring: Sequence[float]) -> float:
    """Return the sum over the sides of a ring of the larger of their two extents."""
    corners = np.array(ring, dtype=np.float64).reshape(-1, 2)
    return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())


def _runs(given: Mapping[str, Any], hw: tuple[int, int]) -> list[float]:
    size, counts, pixels = given.get("size"), given.get("counts"), hw[0] * hw[1]
    if size != list(hw):
        raise _error("size: ", f"the image's {list(hw)}", _abbreviated(size))
    expected = f"run lengths of {pixels} pixels"
    if not isinstance(counts, list | str):
        raise _error("counts: ", expected, _abbreviated(counts))
    limit = 2 * pixels + 1  # Every second run may be empty, as some programs write them.
    try:
        runs = list(islice(run_lengths(counts), limit + 1)) if isinstance(counts, str) else counts
    except ValueError as error:
        raise _error("counts: ", expected, str(error)) from error
    for run in runs:
        if type(run) is not int or not 0 <= run <= pixels:
            raise _error("counts: ", expected, f"{reprlib.repr(run)} among them")
    if len(runs) > limit or sum(runs) != pixels:
        raise _error(
            "counts: ", expected, f"{counted(len(runs), 'run')} of {counted(sum(runs), 'pixel')}"
        )
    return runs


def run_lengths(text: str) -> Iterator[int]:
    """Yield the run lengths of COCO's compressed form.

    Each character holds six bits: five of a number, the lowest first, and one that says whether the number
    goes on. From the fourth number on it is the difference from the one two before. Raises ValueError.
    """
    before = [0, 0, 0]
    position = count = 0
    while position < len(text):
        value = shift = 0
        more = True
        while more:
            if position == len(text) or shift > 60:
                raise ValueError("it ends within a number")
            bits = ord(text[position]) - 48
            if not 0 <= bits < 64:
                raise ValueError(f"character {text[position]!r}")
            value |= (bits & 31) << shift
            more, shift, position = bool(bits & 32), shift + 5, position + 1
            if not more and bits & 16:
                value -= 1 << shift
        if count > 2:
            value += before[-2]
        before = [*before[1:], value]
        count += 1
        yield value


def _abbreviated(value: object) -> str:
    """Return as much of a value as fits in a line, however deeply it is nested."""
    return "nothing" if value is None else reprlib.repr(value)


def _error(field: str, expected: str, got: str) -> ValueError:
    return ValueError(f"{field}expected {expected}, got {got}")
