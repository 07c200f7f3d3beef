"""Finished caches made by hand: one to read, and a fresh copy of it to damage."""

import shutil
from pathlib import Path

import pytest

from fdet.cache.header import CacheHeader
from fdet.cache.reader import FeatureCache

from .handmade import make_cache, make_header


@pytest.fixture(scope="session")
def header() -> CacheHeader:
    return make_header()


@pytest.fixture(scope="session")
def whole(header, tmp_path_factory) -> FeatureCache:
    """Three shards in two buckets, two views, fp32; read only."""
    return make_cache(tmp_path_factory.mktemp("whole") / "a.fdet", header)


@pytest.fixture
def root(whole, tmp_path) -> Path:
    """A copy of that cache, to be damaged."""
    shutil.copytree(whole.root, tmp_path / "a.fdet")
    return tmp_path / "a.fdet"
