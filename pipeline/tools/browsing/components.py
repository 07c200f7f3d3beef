"""Principal components of a level's cells, with fixed signs so that colours mean the same in all images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

COMPONENTS = 3
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Components:
    """The first K <= 3 principal components of the cells of a level.

    mean: the mean (C,) of the cells. axes: the directions (K, C); the entry of largest magnitude of each
    is positive. deviation: the standard deviation (K,) along each axis. share: its share (K,) of the
    variance. images: the number of images that the cells come from.
    """

    mean: Floats
    axes: Floats
    deviation: Floats
    share: Floats
    images: int

    def project(self, maps: Floats) -> Floats:
        """Project maps (C, H, W) onto the axes, as (K, H, W) in standard deviations."""
        centred = maps - self.mean[:, None, None]
        along = np.tensordot(self.axes, centred, axes=1)
        return along / np.where(self.deviation > 0, self.deviation, 1)[:, None, None]


def fit_components(cells: Floats, images: int) -> Components:
    """Fit components to cells (N, C), with the smaller of the two product matrices, N x N or C x C."""
    cells = np.where(np.isfinite(cells), cells, 0).astype(np.float64)
    mean = cells.mean(axis=0)
    centred = cells - mean
    count, channels = cells.shape
    if channels <= count:
        variances, vectors = np.linalg.eigh(centred.T @ centred / count)
        axes = vectors.T
    else:
        variances, vectors = np.linalg.eigh(centred @ centred.T / count)
        axes = vectors.T @ centred
        axes /= np.linalg.norm(axes, axis=1, keepdims=True).clip(min=1e-30)
    variances, axes = variances[::-1][:COMPONENTS].clip(min=0), axes[::-1][:COMPONENTS]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    total = max(float((centred**2).sum()) / count, 1e-30)
    return Components(
        mean, axes * np.where(largest < 0, -1, 1), np.sqrt(variances), variances / total, images
    )
