"""Fixtures that several rooms share: a generated data set, and a cache of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.extraction.options import ExtractConfig

from .generated import make_dataset


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Features depend on torch's number of threads in their last bits."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def quick_disk() -> Iterator[None]:
    """fsync only looks at its descriptor: the suite would mostly wait for the disk.

    What it is for is shown in processes of their own, which this does not reach: tests/cache/faults.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


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
