"""The stored form of a map that the name of a codec gives: its type, shape and precision, but no values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InputError, did_you_mean

_NAME = re.compile(r"([a-z]+[0-9]+(?:\.[0-9]+)?)(?:\+pca([1-9][0-9]{0,5})?)?")


@dataclass(frozen=True, slots=True)
class Numbers:
    """The way in which one number is kept.

    dtype: numpy's name of the stored type. fill: a value that no sample holds, and that absent samples are
    read as. step: the distance between two codes, in standard deviations, or None where the number itself
    is kept, rounded to a floating-point type. codes: the number of codes, which begin at 0. nibbles:
    whether a code is cut into halves of four bits, so that two neighbours of a row share a byte. rate: the
    bits a value aimed at, where components of blocks of 2x2 cells are kept (cache/codecs/blocks.py), or None.
    """

    name: str
    dtype: str
    fill: float
    step: float | None = None
    codes: int = 0
    nibbles: bool = False
    rate: float | None = None


# From the finest to the coarsest. A step of intN is 16 standard deviations / 2^N. Codes of few bits
# shrink a tenth to a fifth more as nibbles: zstd, whose symbols are bytes, then sees pairs of neighbours.
NUMBERS: Mapping[str, Numbers] = {
    "fp32": Numbers("fp32", "float32", float("nan")),
    "fp16": Numbers("fp16", "float16", float("nan")),
    "bf16": Numbers("bf16", "int16", 0x7FC0),  # the bits of a bfloat16; this is a NaN
    "int8": Numbers("int8", "uint8", 255, 2.0**-4, 255),
    "int6": Numbers("int6", "uint8", 255, 2.0**-2, 255),
    "int5": Numbers("int5", "uint8", 255, 2.0**-1, 240, nibbles=True),
    "int4": Numbers("int4", "uint8", 255, 1.0, 240, nibbles=True),
    "q2": Numbers("q2", "uint8", 255, rate=2.0),
    "q1.5": Numbers("q1.5", "uint8", 255, rate=1.5),
    "q1": Numbers("q1", "uint8", 255, rate=1.0),
}


@dataclass(frozen=True, slots=True)
class StoredForm:
    """The form of a map: the numbers of its channels, or of their principal components.

    components: the maximum number of components, where 0 means all; None where the channels are kept.
    """

    numbers: Numbers
    components: int | None = None

    @property
    def name(self) -> str:
        if self.components is None:
            return self.numbers.name
        return f"{self.numbers.name}+pca{self.components or ''}"

    @property
    def dtype(self) -> str:
        return self.numbers.dtype

    @property
    def blocks(self) -> bool:
        """Return whether the components of blocks of 2x2 cells are kept."""
        return self.numbers.rate is not None

    @property
    def clips(self) -> bool:
        """Return whether values beyond a range are clipped, instead of being refused."""
        return self.numbers.step is not None or self.blocks

    @property
    def calibrated(self) -> bool:
        """Return whether decoding needs parameters that were learnt from a part of the data set."""
        return self.clips or self.components is not None

    def stored_channels(self, channels: int) -> int:
        """Return how many numbers are kept of each cell of a map with `channels` channels."""
        return min(self.components or channels, channels)

    def shape(self, map_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the shape of the array in which a map (C, H, W) is kept.

        With nibbles, its first axis holds the lower halves of all codes and then the upper ones, with two
        columns in each byte. Blocks of 2x2 cells have at most a byte for each coefficient; one more on the
        first axis says that the number of rows is odd.
        """
        channels, rows, columns = map_shape
        if self.blocks:
            return (4 * channels + rows % 2, -(-rows // 2), -(-columns // 2))
        kept = self.stored_channels(channels)
        if self.numbers.nibbles:
            return (2 * kept, rows, -(-columns // 2))
        return (kept, rows, columns)

    def coarser_than(self, other: StoredForm) -> bool:
        """Return whether the other form keeps all that this one keeps; this is a strict order.

        Of two forms that keep equally much, the one with components is coarser, since components are
        rounded too.
        """
        mine, theirs = _losses(self), _losses(other)
        turned = self.components is not None and other.components is None
        return all(a >= b for a, b in zip(mine, theirs, strict=True)) and (mine != theirs or turned)


def _losses(form: StoredForm) -> tuple[float, float]:
    """Return the losses in the precision of a number and in the count of numbers; greater is more lost."""
    # Blocks keep as many components as they need, so nothing says that they keep more than another form.
    kept = 0 if form.blocks else form.components or float("inf")
    return list(NUMBERS).index(form.numbers.name), -kept


def parse_form(name: str) -> StoredForm:
    """Parse "fp16", "q1.5", "int5", "int5+pca" (all components) or "int5+pca64" (the first 64).

    Raises ValueError.
    """
    found = _NAME.fullmatch(name)
    if found is None or found[1] not in NUMBERS:
        raise ValueError(
            f"unknown codec {name!r}{did_you_mean(name.partition('+')[0], NUMBERS)}; +pca or +pca64 "
            "after it keeps principal components, all or the first 64"
        )
    if "+" in name and NUMBERS[found[1]].rate is not None:
        raise ValueError(f"codec {name!r}: {found[1]} has components of its own; leave out +pca")
    components = int(found[2] or 0) if "+" in name else None
    return StoredForm(NUMBERS[found[1]], components)


def get_form(name: str) -> StoredForm:
    """Return the form that a user named. Raises InputError, which suggests the nearest name."""
    try:
        return parse_form(name)
    except ValueError as error:
        raise InputError(str(error)) from error
