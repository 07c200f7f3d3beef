"""A disk that is really full: one clear line, and the same command goes on once there is room."""

import subprocess

import pytest

from fdet.cache.errors import StorageError
from fdet.cache.stores import STORES
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.upkeep.convert import Conversion, convert

from ...conftest import extraction
from ..quick import tree


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


def enlarge(folder):
    subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)


NO_ROOM = "No space left on device.*; what was finished is kept: fix this and run the same"


@pytest.mark.parametrize("store", STORES)
def test_no_room_is_said_and_mended(store, dataset, small_disk, tmp_path):
    options = {"codec": "fp32", "views": "plain,hflip", "store": store}
    config = extraction(dataset, small_disk / "cache.fdet", **options)
    with pytest.raises(StorageError, match=NO_ROOM):
        extract(config)
    enlarge(small_disk)
    assert extract(config).samples == 24
    extract(extraction(dataset, tmp_path / "elsewhere.fdet", **options))
    assert tree(small_disk / "cache.fdet") == tree(tmp_path / "elsewhere.fdet")


@pytest.mark.parametrize("store", STORES)
def test_no_room_for_a_conversion(store, dataset, small_disk, quick_caches):
    out = small_disk / "cache.fdet"
    source = quick_caches[next(name for name in STORES if name != store)]
    with pytest.raises(StorageError, match=NO_ROOM):
        convert(source, out, Conversion(store=store))
    enlarge(small_disk)
    convert(source, out, Conversion(store=store))
    assert tree(out) == tree(quick_caches[store])
