"""A quick cache and an odd one, each served."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fdet.pipeline.tools.browsing.collection import Collection, open_collection
from fdet.pipeline.tools.browsing.server import BrowsingServer

from .serving import odd_cache, serving


@pytest.fixture
def collection(whole, dataset) -> Collection:
    """Of the quick cache of a store, with its images."""
    return open_collection(whole, dataset.parent / "images", None)


@pytest.fixture
def server(collection) -> Iterator[BrowsingServer]:
    with serving(collection) as server:
        yield server


@pytest.fixture
def odd(store, tmp_path) -> Path:
    return odd_cache(tmp_path, store)


@pytest.fixture
def odd_server(odd) -> Iterator[BrowsingServer]:
    with serving(open_collection(odd, odd.parent / "images", None)) as server:
        yield server
