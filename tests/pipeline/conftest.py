"""One quick cache a store, and what the backbone was asked for."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fdet.cache.stores import STORES
from fdet.pipeline.backbones.frozen import FrozenBackbone
from fdet.pipeline.extraction.extract import extract

from .clusters import Cluster, cluster
from .command_server import Commands
from .quick import quick


@pytest.fixture(scope="session")
def quick_caches(dataset, tmp_path_factory) -> dict[str, Path]:
    """By store; read only."""
    folder = tmp_path_factory.mktemp("quick")
    for store in STORES:
        extract(quick(dataset, folder / f"{store}.fdet", store=store))
    return {store: folder / f"{store}.fdet" for store in STORES}


@pytest.fixture(scope="session")
def commands(warm) -> Iterator[Commands]:
    """Real processes that need no time to start."""
    commands = Commands(warm.python)
    yield commands
    commands.close()


@pytest.fixture(scope="session")
def head() -> Iterator[Cluster]:
    """Of a Ray cluster, alone."""
    with cluster() as started:
        yield started


@pytest.fixture
def nodes(head) -> Iterator[Cluster]:
    """A cluster that has one node beside its head."""
    head.add()
    yield head
    head.empty()


@pytest.fixture(params=STORES)
def store(request) -> str:
    return request.param


@pytest.fixture
def whole(store, quick_caches) -> Path:
    """The quick cache of a store; read only."""
    return quick_caches[store]


@pytest.fixture
def passes(monkeypatch) -> Counter:
    """passes["samples"]: how many canvases went through the backbone."""
    counted: Counter = Counter()
    forward = FrozenBackbone.forward

    def counting(backbone, canvases, content_hw):
        # The first pass of all is over zeros: it counts the FLOPs.
        if canvases.any():
            counted["samples"] += len(canvases)
        return forward(backbone, canvases, content_hw)

    monkeypatch.setattr(FrozenBackbone, "forward", counting)
    return counted
