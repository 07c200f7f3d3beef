"""Against numpy's singular values, whichever side is longer."""

import numpy as np
import pytest

from fdet.pipeline.tools.browsing.components import fit_components
from fdet.pipeline.tools.browsing.heat import norm_plane


def cells(count, channels):
    rng = np.random.default_rng(count)
    mixed = rng.normal(size=(count, channels)) * np.linspace(5, 0.1, channels)
    return mixed @ np.linalg.qr(rng.normal(size=(channels, channels)))[0] + 3


@pytest.mark.parametrize(("count", "channels"), [(200, 12), (9, 40), (30, 30)])
def test_axes_and_variances_are_those_of_the_singular_values(count, channels):
    values = cells(count, channels)
    found = fit_components(values, 1)
    _, singular, axes = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    assert np.allclose(found.deviation**2, singular[:3] ** 2 / count)
    assert np.allclose(found.share, singular[:3] ** 2 / (singular**2).sum())
    assert np.allclose(np.abs((found.axes * axes[:3]).sum(axis=1)), 1)
    largest = np.abs(found.axes).argmax(axis=1)
    assert (found.axes[np.arange(3), largest] > 0).all()


def test_the_sign_does_not_hang_on_the_cells():
    values = cells(100, 6)
    first, mirrored = fit_components(values, 1), fit_components(-values, 1)
    assert np.allclose(first.axes, mirrored.axes)


def test_projections_are_in_deviations():
    values = cells(400, 5)
    maps = values.T.reshape(5, 20, 20)
    planes = fit_components(values, 1).project(maps).reshape(3, -1)
    assert np.allclose(planes.mean(axis=1), 0) and np.allclose(planes.std(axis=1), 1)


@pytest.mark.parametrize(
    "values", [np.full((6, 4), 2.0), np.zeros((1, 1)), np.full((3, 2), np.nan)]
)
def test_what_does_not_vary_is_zero_everywhere(values):
    found = fit_components(values, 1)
    planes = found.project(np.where(np.isfinite(values), values, 0).T[:, :, None])
    assert len(found.axes) == min(3, values.shape[1], *([1] if len(values) == 1 else [9]))
    assert np.allclose(planes, 0) and np.isfinite(found.share).all()


def test_the_norm_does_not_grow_with_the_channels():
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(6, 4, 5)).astype(np.float32)
    expected = np.linalg.norm(maps, axis=0) / np.sqrt(6)
    assert np.allclose(norm_plane(maps), expected[None], rtol=1e-6)
    assert np.allclose(norm_plane(np.concatenate([maps, maps])), expected[None], rtol=1e-6)
    assert np.isfinite(norm_plane(np.full((2, 1, 1), 3e38, np.float32))).all()
