"""Power cuts in the model of a disk that forgets what was not fsynced; and the model itself."""

import os
import random

import pytest

from fdet.cache.stores import STORES

from .faults.drive import drive
from .faults.model import Disk
from .faults.tracer import Call


def followed(*calls: Call) -> Disk:
    disk = Disk()
    for call in calls:
        disk.follow(call)
    return disk


def created(path: str, descriptor: int = 3) -> Call:
    return Call(0, "openat", path, arguments=(-100, 0, os.O_CREAT), result=descriptor)


def folder_opened(path: str, descriptor: int) -> Call:
    return Call(0, "openat", path, arguments=(-100, 0, os.O_RDONLY), result=descriptor)


def written(data: bytes, descriptor: int = 3) -> Call:
    return Call(0, "write", arguments=(descriptor,), data=data, result=len(data))


def fsynced(descriptor: int, result: int = 0) -> Call:
    return Call(0, "fsync", arguments=(descriptor,), result=result)


def named(call: str, path: str, other: str = "") -> Call:
    return Call(0, call, path, other, result=0)


def states(disk: Disk) -> list[dict]:
    found = []
    for tree in disk.after_power_cut(random.Random(0)):
        if tree not in found:
            found.append(tree)
    return found


def test_a_new_file_may_be_absent_empty_zeros_partly_there_or_whole():
    disk = followed(created("a"), written(b"1234"))
    zeros, half, whole = b"\0\0\0\0", b"12", b"1234"
    assert {tree.get("a") for tree in states(disk)} == {None, b"", zeros, half, whole}
    assert disk.now == {"a": whole}
    assert disk.durable == {}


def test_an_fsync_of_the_file_keeps_its_bytes_and_one_of_the_folder_its_name():
    calls = [created("a"), written(b"1234"), fsynced(3)]
    assert states(followed(*calls)) == [{}, {"a": b"1234"}]
    kept = followed(*calls, folder_opened("", 4), fsynced(4))
    assert states(kept) == [{"a": b"1234"}]


def test_a_folder_whose_name_is_lost_loses_everything_in_it():
    inside = [folder_opened("f", 4), created("f/a"), written(b"1"), fsynced(3), fsynced(4)]
    disk = followed(named("mkdir", "f"), *inside)
    assert states(disk) == [{}, {"f": None, "f/a": b"1"}]


def test_names_that_were_taken_away_may_come_back():
    durable = [created("a"), written(b"1"), fsynced(3), folder_opened("", 4), fsynced(4)]
    disk = followed(*durable, named("unlink", "a"))
    assert states(disk) == [{"a": b"1"}, {}]
    disk = followed(*durable, named("link", "a", "b"), named("unlink", "a"))
    found = [sorted(tree) for tree in states(disk)]
    assert sorted(found) == [[], ["a"], ["a", "b"], ["b"]]


def test_a_failed_fsync_is_not_made_good_by_another():
    disk = followed(created("a"), written(b"1"), fsynced(3, -5), fsynced(3))
    assert disk.refused() == ["a"]
    assert {"a": b""} in states(disk)


def test_an_unknown_call_is_refused():
    with pytest.raises(NotImplementedError, match="copy_file_range"):
        followed(named("copy_file_range", "a"))


@pytest.mark.slow
@pytest.mark.parametrize("store", STORES)
def test_no_power_cut_loses_what_was_acknowledged_or_makes_a_wrong_value(store):
    found = drive("power cut")[store]
    assert found["failures"] == []
    assert found["states"] >= 300


@pytest.mark.slow
@pytest.mark.parametrize("store", STORES)
def test_the_model_notices_any_fsync_that_is_taken_out(store):
    found = drive("without an fsync")[store]["found"]
    assert len(found) >= 7
    assert [site for site, violation in found.items() if not violation] == []
