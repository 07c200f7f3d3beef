"""Places for zoos that no other test sees."""

import pytest

from fdet.pipeline.zoo.places import PLACE


@pytest.fixture(autouse=True)
def homes(tmp_path, monkeypatch):
    monkeypatch.delenv(PLACE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home-cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home-data"))
