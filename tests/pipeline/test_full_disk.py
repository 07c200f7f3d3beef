"""A disk that is really full: one clear line, and the same command goes on once there is room."""

import subprocess

import pytest

from fdet.cache.errors import StorageError
from fdet.cache.reader import FeatureCache
from fdet.pipeline.extract import extract

from ..conftest import extraction


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB, and how to enlarge it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs the mount command")
    if done.returncode:
        pytest.skip(f"needs the right to mount a small file system: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_no_room_is_said_and_mended(dataset, small_disk):
    config = extraction(dataset, small_disk / "cache.fdet", codec="fp32", views="plain,hflip")
    with pytest.raises(StorageError, match="No space left on device; what was finished is kept"):
        extract(config)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert extract(config).samples == 24
    assert len(FeatureCache.open(small_disk / "cache.fdet")) == 12
