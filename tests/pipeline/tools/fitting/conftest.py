"""A data set to fit, in a folder of its own."""

from pathlib import Path

import pytest

from fdet.pipeline.training import length as auto_length

from ...dataset.made import sound


@pytest.fixture
def as_for_users(monkeypatch, tmp_path):
    for name, steps in (("ONE_VIEW", 750), ("SEVERAL_VIEWS", 1500)):
        monkeypatch.setattr(auto_length, name, auto_length.Least(steps, 12))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path) -> Path:
    """A folder with the splits train and val, six images each."""
    made = sound(tmp_path / "data")
    made.write()
    return made.folder
