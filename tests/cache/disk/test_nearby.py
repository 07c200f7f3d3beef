"""Frames kept on this machine: fewer requests, never a wrong byte, never more bytes than were allowed."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fdet.cache.disk.nearby import FOLDER, SIZE, NearbyFrames, nearby_frames
from fdet.cache.disk.objects import located
from fdet.cache.errors import InputError, StorageError
from fdet.cache.reader import FeatureCache
from fdet.pipeline.tools.upkeep.copy import Part, copy

from .. import filling
from ..filling import LIMIT, frame, kept_bytes


@pytest.fixture
def frames(tmp_path):
    """Room for thirty frames."""
    return NearbyFrames(tmp_path, LIMIT)


def test_what_was_kept_is_there(frames):
    label, data, crc = frame(1)
    assert frames.get(label, len(data), crc) is None
    frames.keep(label, data)
    assert frames.get(label, len(data), crc) == data
    assert frames.get("another", len(data), crc) is None


@pytest.mark.parametrize("harm", [lambda raw: raw[:-1], lambda raw: raw[:9] + b"x" + raw[10:]])
def test_a_damaged_entry_is_dropped(harm, frames, tmp_path):
    label, data, crc = frame(1)
    frames.keep(label, data)
    (path,) = tmp_path.glob("??/*")
    path.write_bytes(harm(data))
    assert frames.get(label, len(data), crc) is None
    assert not path.exists()
    frames.keep(label, data)
    assert frames.get(label, len(data), crc) == data


def test_the_one_used_longest_ago_goes_first(frames, tmp_path):
    for number in range(30):
        frames.keep(*frame(number)[:2])
        path = max(tmp_path.glob("??/*"), key=lambda p: p.stat().st_mtime_ns)
        os.utime(path, ns=(number, number))
    assert kept_bytes(tmp_path) == LIMIT
    label, data, crc = frame(0)
    assert frames.get(label, len(data), crc) == data
    frames.keep(*frame(30)[:2])
    assert kept_bytes(tmp_path) <= LIMIT
    there = {n for n in range(31) if frames.get(frame(n)[0], 1000, frame(n)[2])}
    assert {0, 30} < there
    assert there - {0, 30} == set(range(31 - (len(there) - 1), 30)), "the oldest are gone"


def test_what_no_folder_has_room_for_is_not_kept(frames, tmp_path):
    frames.keep("large", b"x" * 20_000)
    assert kept_bytes(tmp_path) == 0


def test_many_processes_share_it(tmp_path):
    words = [sys.executable, filling.__file__, str(tmp_path)]
    fillers = [
        subprocess.Popen([*words, start], stdout=subprocess.PIPE, text=True)
        for start in ("0", "30")
    ]
    most = [int(filler.communicate(timeout=60)[0]) for filler in fillers]
    assert [filler.returncode for filler in fillers] == [0, 0]
    assert 20_000 < max(most) <= LIMIT


def test_many_threads_share_it(tmp_path):
    with ThreadPoolExecutor(4) as threads:
        assert max(threads.map(filling.fill, [tmp_path] * 4, range(0, 80, 20))) <= LIMIT


def test_the_environment_says_where(monkeypatch, tmp_path):
    monkeypatch.delenv(FOLDER, raising=False)
    assert nearby_frames() is None
    monkeypatch.setenv(FOLDER, str(tmp_path / "near"))
    assert nearby_frames() == NearbyFrames(tmp_path / "near", 50 * 10**9)
    monkeypatch.setenv(SIZE, "3MB")
    assert nearby_frames() == NearbyFrames(tmp_path / "near", 3 * 10**6)
    monkeypatch.setenv(SIZE, "much")
    with pytest.raises(InputError, match="FDET_CACHE_SIZE 'much': expected bytes"):
        nearby_frames()
    (tmp_path / "file").touch()
    monkeypatch.setenv(SIZE, "1MB")
    monkeypatch.setenv(FOLDER, str(tmp_path / "file" / "below"))
    with pytest.raises(StorageError, match="FDET_CACHE_DIR="):
        nearby_frames()


def test_a_second_reading_asks_for_no_frame(
    exact_cache, prefix, store_proxy, monkeypatch, tmp_path
):
    copy(exact_cache, located(prefix), Part())
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setenv(SIZE, "1GB")
    local = FeatureCache.open(exact_cache)
    for _ in range(2):
        store_proxy.requests.clear()
        for mine, theirs in zip(FeatureCache.open(prefix), local, strict=True):
            assert all(np.array_equal(x, y) for x, y in zip(mine.maps, theirs.maps, strict=True))
    assert not any(request.range for request in store_proxy.requests)
    path = next(tmp_path.glob("??/*"))
    path.write_bytes(path.read_bytes()[::-1])
    store_proxy.requests.clear()
    for mine, theirs in zip(FeatureCache.open(prefix), local, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(mine.maps, theirs.maps, strict=True))
    assert sum(bool(request.range) for request in store_proxy.requests) == 1
