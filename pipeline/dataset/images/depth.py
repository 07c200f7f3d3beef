"""The number of bits of deep pixels, found once for a data set, since files often hold 12 of 16 bits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from ....cache.errors import InputError
from ...machines.progress import progress_line
from .decoding import ImageError, has_deep_pixels, load_deep_values

log = logging.getLogger(__name__)

# The maximum number of deep images that are decoded.
LOOKED_AT = 32
# The depths that cameras and scanners have.
DEPTHS = (8, 10, 12, 14, 16)
# Files of these kinds always have 8 bits, so they are not opened.
_SHALLOW = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".gif", ".bmp", ".dib"})


def recorded_bits(bits: int) -> int:
    """Return the number of bits as the key of a cache has it, where 0 stands for 16."""
    return 0 if bits == 16 else bits


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the greatest of the deep values of a file, which are integers or floating-point."""

    name: str
    low: float
    high: float
    floating: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The number of bits that deep values have, None where nothing says it, or why there is none.

    problem: a sentence that names the files and what to do, "" where there is none. mended: whether the
    option --bits would do.
    """

    bits: int | None
    problem: str = ""
    mended: bool = False


def find_bits(folder: Path, names: Sequence[str]) -> int:
    """Return how many bits the deep pixels of a data set have, as the key of a cache has it.

    It is the least of `DEPTHS` that holds the values of up to `LOOKED_AT` deep images, evenly spread over all
    of them; it is logged. 0 also stands for no deep images, and for floating-point pixels of 0 to 1. Raises
    InputError where the values do not fit any of these.
    """
    deep = _deep_files(folder, names)
    count = min(LOOKED_AT, len(deep))
    ranges = _ranges(folder, [deep[k * len(deep) // count] for k in range(count)])
    found = bits_of(ranges)
    if found.problem:
        raise InputError(found.problem)
    if found.bits is None:
        return 0
    integers = [one for one in ranges if not one.floating]
    log.warning(
        "deep pixels reach %d in %d of %d deep images: read as %d bits; --bits to change",
        max(one.high for one in integers),
        len(integers),
        len(deep),
        found.bits,
    )
    return recorded_bits(found.bits)


def bits_of(ranges: Sequence[Range]) -> Found:
    """Return how many bits the deep values of files have."""
    floats = [one for one in ranges if one.floating]
    integers = [one for one in ranges if not one.floating]
    if floats and (wrong := _of_floats(floats, mixed=bool(integers))).problem:
        return wrong
    if not integers:
        return Found(None)
    largest = max(integers, key=lambda one: one.high)
    high = int(largest.high)
    bits = next((depth for depth in DEPTHS if high < 2**depth), high.bit_length())
    if bits > max(DEPTHS):
        advice = f"expected at most 65535; give the number of bits, e.g. --bits {bits}"
        return Found(None, f"{largest.name}: deep pixels reach {high}, {advice}", mended=True)
    # Nothing can be told from black images.
    bits = bits if high else 16
    if floats and bits != 16:
        return Found(
            None,
            f"some images have floating-point pixels of 0 to 1, others integers of 0 to {high}, e.g. "
            f"{floats[0].name} and {largest.name}; convert one kind, or give --bits 16",
            mended=True,
        )
    return Found(bits)


def _of_floats(floats: Sequence[Range], *, mixed: bool) -> Found:
    """Return the bits of floating-point pixels, which are none, or the problem where they are not 0 to 1."""
    lowest = min(floats, key=lambda one: one.low)
    highest = max(floats, key=lambda one: one.high)
    low, high = lowest.low, highest.high
    if low >= -1 / 510 and high <= 1 + 1 / 510:
        return Found(None)
    beyond = [one.name for one in (highest, lowest) if not (one.low >= 0 and one.high <= 1)]
    bits = next((depth for depth in DEPTHS if high < 2**depth), None) if low >= 0 else None
    mended = not mixed and bits is not None and bits < 16
    advice = f", or give --bits {bits} for 0..{2**bits - 1}" if mended and bits else ""
    return Found(
        None,
        f"{' and '.join(dict.fromkeys(beyond))}: floating-point pixels reach {low:.6g}..{high:.6g}, "
        f"expected 0..1; convert them to 0..1{advice}",
        mended,
    )


def _deep_files(folder: Path, names: Sequence[str]) -> list[str]:
    """Return the files with deep pixels, by their headers; a file that cannot be read has none."""
    looked = [name for name in names if PurePath(name).suffix.lower() not in _SHALLOW]
    if not looked:
        return []
    with (
        progress_line("looking for deep pixels", len(looked)) as progress,
        ThreadPoolExecutor(8) as pool,
    ):
        deep = []
        found = pool.map(lambda name: has_deep_pixels(folder / name), looked)
        for name, is_deep in zip(looked, found, strict=True):
            progress.advance()
            if is_deep:
                deep.append(name)
    return deep


def _ranges(folder: Path, names: Sequence[str]) -> list[Range]:
    """Return the least and greatest value of each file that can be read."""
    ranges = []
    for name in names:
        try:
            values = load_deep_values(folder / name)
        except ImageError:
            continue  # It fails again when it is extracted, with this reason.
        if values is not None and np.isfinite(values).all():
            low, high = float(values.min()), float(values.max())
            ranges.append(Range(name, low, high, values.dtype.kind == "f"))
    return ranges
