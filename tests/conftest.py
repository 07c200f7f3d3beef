"""Fixtures that several rooms share: a generated data set, and a cache of it."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.extraction.options import ExtractConfig
from fdet.pipeline.training import auto, length

from .generated import make_dataset
from .object_server import BUCKET, SETTINGS, Proxy, proxy_before, s3
from .warm import Warm


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests: none of them is left for one core at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Features depend on torch's number of threads in their last bits."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def plain_runs() -> Iterator[None]:
    """What is "auto" is short, and the same on every machine, whatever its processor can do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auto, "native_precision", lambda device: "fp32")
        for name in ("ONE_VIEW", "SEVERAL_VIEWS"):
            patch.setattr(length, name, length.Least(1, 12))
        yield


@pytest.fixture(autouse=True, scope="session")
def quick_disk() -> Iterator[None]:
    """fsync only looks at its descriptor: the suite would mostly wait for the disk.

    What it is for is shown in processes of their own, which this does not reach: tests/cache/faults.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """A `python` and an `fdet` that need no time to start."""
    with tempfile.TemporaryDirectory(prefix="fdet-") as folder:
        started = Warm(Path(folder))
        yield started
        started.close()


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """The annotation file of twelve generated images; the images lie in images/ beside it."""
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="session")
def exact_cache(dataset, tmp_path_factory) -> Path:
    """An fp32 cache of the data set, two views, one image a pass, several shards; read only."""
    out = tmp_path_factory.mktemp("caches") / "exact.fdet"
    extract(extraction(dataset, out, views="plain,hflip", codec="fp32"))
    return out


def extraction(dataset: Path, out: Path, **changes) -> ExtractConfig:
    """A quick extraction: square canvases of 128 px, in this process."""
    options = {
        "annotations": dataset,
        "images": dataset.parent / "images",
        "out": out,
        **{"size": 128, "workers": 0, "threads": 1, "shard_mb": 1},
    }
    return ExtractConfig(**{**options, **changes})


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """Of an S3 on this machine, with one empty bucket."""
    pytest.importorskip("obstore")
    pytest.importorskip("moto.server")
    with s3() as port:
        yield port


@pytest.fixture
def store_proxy(s3_port, monkeypatch) -> Iterator[Proxy]:
    """Before that S3; the environment names it, and credentials for it."""
    with proxy_before(s3_port) as proxy:
        for name, value in {**SETTINGS, "AWS_ENDPOINT_URL": proxy.url}.items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture
def prefix(store_proxy) -> str:
    """s3://... of which nothing is there."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}"
