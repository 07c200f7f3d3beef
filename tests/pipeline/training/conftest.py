"""A cache of a small backbone with BatchNorm, which can be trained too."""

import multiprocessing
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace

import pytest

from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.training import trial
from fdet.pipeline.training.train import train

from ...conftest import extraction
from .runs import options, tiny

# A tail behind c4, and settings with which a few steps change something.
FROM = "backbone.train_from=c5"
FAST = (
    *("optim.lr=0.005", "schedule.warmup_steps=0", "optim.backbone_factor=1.0"),
    *("head.score_threshold=0.01", "head.max_detections=20"),
)


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


@pytest.fixture(scope="session")
def short_cache(dataset, tmp_path_factory) -> Path:
    """As live_cache, without the level of the tail; read only."""
    out = tmp_path_factory.mktemp("short") / "short.fdet"
    backbone = {"backbone": "test_efficientnet", "weights": "random", "levels": "c3,c4"}
    extract(extraction(dataset, out, size=64, views="plain,hflip", codec="fp32", **backbone))
    return out


@pytest.fixture(scope="session")
def tailed(short_cache, tmp_path_factory) -> Path:
    """A run with a trained tail on that cache; read only."""
    run = tmp_path_factory.mktemp("tailed") / "run"
    train(tiny("retinanet", *FAST, FROM), options(short_cache, run, val=short_cache, source="tail"))
    return run


@pytest.fixture(scope="session")
def adapted_tail(short_cache, tmp_path_factory) -> Path:
    """A run with adapters in a tail on that cache; read only."""
    run = tmp_path_factory.mktemp("adapted-tail") / "run"
    config = tiny("retinanet", *FAST, FROM, "backbone.adapters=true")
    train(config, options(short_cache, run, val=short_cache, source="tail"))
    return run


@pytest.fixture
def forked(monkeypatch) -> None:
    """Trials of a memory limit are forks of this process, which has imported everything.

    They are new interpreters, as users have them, in test_memory_limit.py's test of a whole run.
    """
    # A fork cannot use the server of another process, which a test before may have started.
    forkserver._forkserver._stop()
    fork = SimpleNamespace(get_context=lambda method: multiprocessing.get_context("fork"))
    monkeypatch.setattr(trial, "multiprocessing", fork)
