"""A run on a small backbone, and its exported file."""

from pathlib import Path

import pytest

from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.tools.exporting import latency
from fdet.pipeline.tools.exporting.export import Exported, export
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

from ....conftest import extraction


@pytest.fixture(scope="session")
def trained(dataset, tmp_path_factory) -> Path:
    """A folder with cache.fdet and a run that finds boxes of low scores; read only."""
    folder = tmp_path_factory.mktemp("trained")
    small = {"size": 64, "backbone": "resnet10t", "weights": "random", "codec": "fp16"}
    extract(extraction(dataset, folder / "cache.fdet", **small))
    settings = ["neck.channels=16", "neck.max_level=5", "train.epochs=2", "head.name=fcos"]
    config = load_config(assignments=[*settings, "head.score_threshold=0.001"])
    train(config, TrainOptions(cache=folder / "cache.fdet", out=folder / "run", threads=1))
    return folder


@pytest.fixture(scope="session")
def exported(trained) -> Exported:
    """The run as an ONNX file; read only."""
    return export(trained / "run", trained / "file" / "model.onnx")


@pytest.fixture
def briefly(monkeypatch) -> None:
    """Latencies are those of one call."""
    monkeypatch.setattr(latency, "_WARM", 0)
    monkeypatch.setattr(latency, "_RUNS", 1)
