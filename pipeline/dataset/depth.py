"""How many bits deep pixels have: looked at once for a data set, since files often hold 12 of 16 bits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ...cache.errors import InputError
from ..machines.progress import progress_line
from .images import ImageError, has_deep_pixels, load_deep_values

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


def find_bits(folder: Path, names: Sequence[str]) -> int:
    """Return how many bits the deep pixels of a data set have, as the key of a cache has it.

    It is the least of `DEPTHS` that holds the values of up to `LOOKED_AT` deep images, evenly spread over all
    of them; it is logged. 0 also stands for no deep images, and for floating-point pixels of 0 to 1. Raises
    InputError where the values do not fit any of these.
    """
    deep = _deep_files([folder / name for name in names])
    count = min(LOOKED_AT, len(deep))
    chosen = [deep[k * len(deep) // count] for k in range(count)]
    integers, floats = _ranges(chosen)
    if floats:
        _check_floats(floats, mixed=bool(integers))
    if not integers:
        return 0
    high = int(max(high for _, high in integers))
    bits = next((depth for depth in DEPTHS if high < 2**depth), high.bit_length())
    if bits > max(DEPTHS):
        raise InputError(
            f"deep pixels reach {high}, expected at most 65535; give the number of bits, e.g. --bits {bits}"
        )
    # Nothing can be told from black images.
    bits = bits if high else 16
    if floats and bits != 16:
        raise InputError(
            f"some images have floating-point pixels of 0 to 1, others integers of 0 to {high}; convert one "
            "kind, or give --bits 16"
        )
    log.warning(
        "deep pixels reach %d in %d of %d deep images: read as %d bits; --bits to change",
        high,
        len(integers),
        len(deep),
        bits,
    )
    return recorded_bits(bits)


def _deep_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files with deep pixels, by their headers; a file that cannot be read has none."""
    looked = [path for path in paths if path.suffix.lower() not in _SHALLOW]
    if not looked:
        return []
    with (
        progress_line("looking for deep pixels", len(looked)) as progress,
        ThreadPoolExecutor(8) as pool,
    ):
        deep = []
        for path, is_deep in zip(looked, pool.map(has_deep_pixels, looked), strict=True):
            progress.advance()
            if is_deep:
                deep.append(path)
    return deep


Range = tuple[float, float]


def _ranges(paths: Sequence[Path]) -> tuple[list[Range], list[Range]]:
    """Return the least and greatest value of each file that can be read, of integers and of floats."""
    integers: list[Range] = []
    floats: list[Range] = []
    for path in paths:
        try:
            values = load_deep_values(path)
        except ImageError:
            continue  # It fails again when it is extracted, with this reason.
        if values is not None and np.isfinite(values).all():
            found = floats if values.dtype.kind == "f" else integers
            found.append((float(values.min()), float(values.max())))
    return integers, floats


def _check_floats(floats: Sequence[Range], *, mixed: bool) -> None:
    """Raise InputError where floating-point pixels are not within 0 to 1."""
    low, high = min(low for low, _ in floats), max(high for _, high in floats)
    if low >= -1 / 510 and high <= 1 + 1 / 510:
        return
    advice = "convert them to 0..1"
    if low >= 0 and not mixed:
        bits = next((depth for depth in DEPTHS if high < 2**depth), None)
        advice += f", or give --bits {bits} for 0..{2**bits - 1}" if bits and bits < 16 else ""
    raise InputError(f"floating-point pixels reach {low:.6g}..{high:.6g}, expected 0..1; {advice}")
