"""The picture of a map: for each cell the norm, the principal components, or one channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ....cache.errors import InputError
from ....cache.wording import counted
from .collection import Collection

Planes = npt.NDArray[np.float32]


def norm_plane(maps: Planes) -> Planes:
    """Return the root mean square over the channels of maps (C, H, W), as (1, H, W).

    It is comparable between levels with different numbers of channels.
    """
    squares = np.square(maps, dtype=np.float64)
    norm: Planes = np.sqrt(squares.mean(axis=0, keepdims=True)).astype(np.float32)
    return norm


def heat_map(
    collection: Collection, sample: tuple[int, int], level: int, show: str, number: int
) -> dict[str, Any]:
    """Return planes (1 or 3, H, W) of a level, their range, and a description of them.

    number: the number of the component or the channel. Raises InputError, MissingSample, CorruptCache.
    """
    maps = collection.maps(sample)[level]
    planes, about = DISPLAYS[show](collection, maps, level, number)
    finite = planes[np.isfinite(planes)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return {"planes": planes.astype("<f4"), "low": low, "high": high, "about": about}


def _norm(_: Collection, maps: Planes, level: int, number: int) -> tuple[Planes, str]:
    return norm_plane(maps), "root mean square over the channels"


def _channel(_: Collection, maps: Planes, level: int, number: int) -> tuple[Planes, str]:
    if number >= len(maps):
        raise InputError(f"channel {number}: this level has 0 to {len(maps) - 1}")
    return maps[number : number + 1], f"channel {number} of {len(maps)}"


def _component(collection: Collection, maps: Planes, level: int, number: int) -> tuple[Planes, str]:
    found = collection.components(level)
    if number >= len(found.axes):
        raise InputError(f"component {number}: this level has 0 to {len(found.axes) - 1}")
    share = (
        f"{100 * found.share[number]:.0f} % of the variance over {counted(found.images, 'image')}"
    )
    return found.project(maps)[number : number + 1], f"component {number}, in deviations; {share}"


def _three(collection: Collection, maps: Planes, level: int, number: int) -> tuple[Planes, str]:
    """Return three planes in any case, though a map of fewer channels has fewer components."""
    found = collection.components(level)
    planes = np.zeros((3, *maps.shape[1:]), np.float32)
    planes[: len(found.axes)] = found.project(maps)
    share = f"{100 * found.share.sum():.0f} % of the variance over {counted(found.images, 'image')}"
    return planes, f"components 0, 1, 2 as red, green, blue; {share}"


DISPLAYS: Mapping[str, Callable[[Collection, Planes, int, int], tuple[Planes, str]]] = {
    "norm": _norm,
    "pca": _three,
    "component": _component,
    "channel": _channel,
}
