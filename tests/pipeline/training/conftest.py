"""A cache of a small backbone with BatchNorm, which can be trained too."""

from pathlib import Path

import pytest

from fdet.pipeline.extraction.extract import extract

from ...conftest import extraction


@pytest.fixture(scope="session")
def live_cache(dataset, tmp_path_factory) -> Path:
    """Canvases of 64 px, fp32, two views; read only."""
    out = tmp_path_factory.mktemp("live") / "live.fdet"
    backbone = {"backbone": "test_efficientnet", "weights": "random", "levels": "c3,c4,c5"}
    extract(extraction(dataset, out, size=64, views="plain,hflip", codec="fp32", **backbone))
    return out


@pytest.fixture(scope="session")
def images(dataset) -> Path:
    return dataset.parent / "images"
