"""Histograms of the values of a map: of a whole level, of one channel, and of all channels together."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 64
Values = npt.NDArray[np.float32]


def histogram(values: Values) -> dict[str, Any]:
    """Return the counts in BINS equal bins from the lowest to the highest value, and statistics.

    zeros: the share of exact zeros. Values that are not finite enter only `values`, the number of all
    values, and `not_finite`.
    """
    finite = values[np.isfinite(values)].astype(np.float64).ravel()
    facts: dict[str, Any] = {"values": values.size, "not_finite": values.size - finite.size}
    if not finite.size:
        return {**facts, "low": 0.0, "high": 0.0, "counts": [0] * BINS}
    low, high = float(finite.min()), float(finite.max())
    return {
        **facts,
        "low": low,
        "high": high,
        "counts": np.bincount(_bin(finite, low, high), minlength=BINS).tolist(),
        "mean": float(finite.mean()),
        "deviation": float(finite.std()),
        "zeros": float((finite == 0).mean()),
        "largest": max(-low, high),
    }


def by_channel(maps: Values) -> dict[str, Any]:
    """Return counts (BINS, C) of maps (C, H, W) over their common range, highest bin first as drawn.

    constant: the number of channels that have only one value.
    """
    flat = maps.reshape(len(maps), -1)
    finite = np.isfinite(flat)
    usable = np.where(finite, flat, 0)
    low, high = (float(f(flat[finite])) if finite.any() else 0.0 for f in (np.min, np.max))
    bins = _bin(usable, low, high) + BINS * np.arange(len(flat))[:, None]
    counts = np.bincount(bins[finite], minlength=BINS * len(flat)).reshape(len(flat), BINS)
    constant = int((flat == flat[:, :1]).all(axis=1).sum())
    return {
        "counts": np.ascontiguousarray(counts.T[::-1].astype("<u4")),
        "low": low,
        "high": high,
        "constant": constant,
    }


def _bin(values: npt.NDArray[np.floating], low: float, high: float) -> npt.NDArray[np.int64]:
    """Return the bin of each value.

    The last bin includes both of its edges, as in numpy.histogram. Where all values are equal, they lie in
    the first bin.
    """
    width = (high - low) / BINS or 1.0
    bins: npt.NDArray[np.int64] = ((values - low) / width).astype(np.int64).clip(0, BINS - 1)
    return bins
