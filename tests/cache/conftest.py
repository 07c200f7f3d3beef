"""Finished caches made by hand, one a store: to read, and a fresh copy of it to damage."""

import shutil
import subprocess
from pathlib import Path

import pytest

from fdet.cache.format.header import CacheHeader
from fdet.cache.reader import FeatureCache
from fdet.cache.stores import STORES

from .handmade import make_cache, make_header


@pytest.fixture(scope="session", params=STORES)
def store(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def header(store) -> CacheHeader:
    return make_header(store=store)


@pytest.fixture(scope="session")
def whole(header, tmp_path_factory) -> FeatureCache:
    """Three shards in two buckets, two views, fp32; read only."""
    return make_cache(tmp_path_factory.mktemp("whole") / "a.fdet", header)


@pytest.fixture
def root(whole, tmp_path) -> Path:
    """A copy of that cache, to be damaged."""
    shutil.copytree(whole.root, tmp_path / "a.fdet")
    return tmp_path / "a.fdet"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs the mount command")
    if done.returncode:
        pytest.skip(f"needs the right to mount a small file system: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
