"""A run that finds something, and photos of several kinds."""

import shutil
from pathlib import Path

import pytest

from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

from ....conftest import extraction


@pytest.fixture(scope="session")
def small_run(dataset, tmp_path_factory) -> Path:
    """A run of three classes that finds boxes of low scores; read only."""
    folder = tmp_path_factory.mktemp("small")
    extract(extraction(dataset, folder / "cache.fdet", size=64))
    settings = ["neck.channels=16", "neck.max_level=5", "train.epochs=2", "head.max_detections=9"]
    config = load_config(assignments=[*settings, "head.score_threshold=0.001"])
    train(config, TrainOptions(cache=folder / "cache.fdet", out=folder / "run", threads=1))
    return folder / "run"


@pytest.fixture
def photos(dataset, tmp_path) -> Path:
    """A folder with five images and a subfolder with one."""
    images = dataset.parent / "images"
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for path in sorted(images.glob("*.png"))[:5]:
        shutil.copy(path, tmp_path / "photos")
    shutil.copy(images / "sub" / "17.png", tmp_path / "photos" / "sub")
    return tmp_path / "photos"
