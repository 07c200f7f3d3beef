"""The step of all coefficients and the bits that each of them gets, for a number of bits a value."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

# Orthonormal sums and differences of the four cells of a block: top left, top right, bottom left and right.
SUMS = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
# |coefficient| / step is rounded down after this is added. Rounding to the nearest would add 0.5; less makes
# more zeros, which is worth more than the precision that it costs at one to two bits a value.
ROUNDING = 0.35
# The largest error of a coefficient within the range of its codes, in steps.
HALF = 1 - ROUNDING
# What frames and tables take, as a multiple of the entropy of the codes in the images that are learnt from.
_FRAMES = 1.22
# By the number of bits of a code: the mean size of the codes above which they get as many.
_BITS = {1: 0.002, 2: 0.15, 4: 0.6, 8: 3.0}
# A finer step than 1/16 of a deviation, that of int8, is not needed; a coarser one than 16 keeps nothing.
_FINEST, _COARSEST = -128, 128
_STEPS_AN_OCTAVE = 32
_BLOCKS = 1024
# The codes of a coefficient reach at least this many of its deviations on either side.
_REACH = 8


def in_blocks(cells: Doubles) -> Doubles:
    """Return the coefficients (N / 4, 4, C) of cells (N, C), each four of which are a block.

    The last cell is repeated where N is no multiple of 4.
    """
    cells = np.concatenate([cells, np.repeat(cells[-1:], -len(cells) % 4, axis=0)])
    found: Doubles = np.einsum("fp,npc->nfc", SUMS, cells.reshape(-1, 4, cells.shape[1]))
    return found


def common_step(rate: float, levels: Mapping[str, Doubles], values: Mapping[str, float]) -> float:
    """Return the finest step, out of 32 in each octave, with which all levels take at most `rate`.

    rate: in bits a value. levels: the coefficients (N, 4, C) of each level. values: how many values a map
    has at each level, relative to the others.
    """
    some = {name: x[:: -(-len(x) // _BLOCKS)] for name, x in levels.items()}
    total = sum(values[name] for name in levels)
    finest, coarsest = _FINEST, _COARSEST
    while finest < coarsest:
        middle = (finest + coarsest) // 2
        step = 2 ** (middle / _STEPS_AN_OCTAVE)
        taken = sum(values[name] / total * _entropy(codes(x, step)) for name, x in some.items())
        if _FRAMES * taken <= rate:
            coarsest = middle
        else:
            finest = middle + 1
    return float(2 ** (finest / _STEPS_AN_OCTAVE))


def quantisers(step: float, values: Doubles) -> tuple[Doubles, Doubles]:
    """Return the steps and the bits, (4, K) each, of the first K components that are worth keeping.

    values: the coefficients (N, 4, C) of components, those of the greatest variance first.
    """
    mean_size = np.abs(codes(values, step)).mean(axis=0)
    bits = np.zeros(mean_size.shape)
    for count, least in _BITS.items():
        bits[mean_size > least] = count
    bits[0, 0] = max(bits[0, 0], 1)
    kept = 1 + int(np.flatnonzero(bits.any(axis=0))[-1])
    reach = np.sqrt(np.square(values).mean(axis=0)) * _REACH / 254
    return np.maximum(step, reach)[:, :kept], bits[:, :kept]


def codes(values: Doubles, step: float) -> Doubles:
    """Return the codes of coefficients: whole numbers, more of them zero than by rounding to the nearest."""
    found: Doubles = np.sign(values) * np.floor(np.abs(values) / step + ROUNDING)
    return found


def _entropy(found: Doubles) -> float:
    """Return the mean entropy in bits of codes (N, 4, C), each coefficient by its own distribution."""
    small = found.clip(-8, 8).astype(np.int8)
    shares = np.stack([(small == code).mean(axis=0) for code in range(-8, 9)])
    return float(
        -(shares * np.log2(shares, where=shares > 0, out=np.zeros_like(shares))).sum(0).mean()
    )
