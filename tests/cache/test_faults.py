"""The writer killed before every system call that changes the disk, and refused by the disk at every site.

A site makes the same call for one file after the other. One of these fails, or with FDET_EVERY_CALL=1 each of
them; all fail that find the disk full.
"""

import pytest

from fdet.cache.stores import STORES

from .faults.drive import drive

pytestmark = pytest.mark.slow
ROOT = "new/a.fdet/"


def scratch(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name}.scratch"


class Steps:
    """The calls of an undisturbed run: (name, path or report, new name)."""

    def __init__(self, store: str) -> None:
        found = drive("record")[store]
        self.calls = [tuple(call) for call in found["calls"]]
        self.shards: dict[str, list[str]] = found["shards"]

    def published(self, name: str) -> tuple[int, int]:
        """When a file was linked to its name, and when that was durable; checks the steps before."""
        path = ROOT + name
        linked = self.calls.index(("link", scratch(path), path))
        made = self.calls.index(("openat", scratch(path), ""))
        steps = [call for call, where, _ in self.calls[made:linked] if where == scratch(path)]
        assert steps[-1] == "fsync" and steps.count("fsync") == 1
        folder = path.rpartition("/")[0]
        return linked, self.calls.index(("fsync", folder, ""), linked)

    def reserved(self, name: str) -> bool:
        """Whether room for a file was claimed before its first byte was written."""
        steps = [call for call, where, _ in self.calls if where == scratch(ROOT + name)]
        return "fallocate" in steps[: steps.index("write")]


@pytest.fixture(params=STORES)
def steps(request) -> Steps:
    return Steps(request.param)


def test_data_are_durable_before_the_table_the_table_before_the_record(steps):
    for shard, (*data, table, record) in steps.shards.items():
        durable = max(steps.published(name)[1] for name in data)
        named, table_durable = steps.published(table)
        assert durable < named
        named, record_durable = steps.published(record)
        assert table_durable < named
        assert record_durable < steps.calls.index(("report", f"written {shard}", ""))


def test_room_is_reserved_for_data_before_they_are_written(steps):
    for *data, _, _ in steps.shards.values():
        assert all(map(steps.reserved, data))


def test_the_header_is_first_and_the_manifest_last(steps):
    links = [new.removeprefix(ROOT) for name, _, new in steps.calls if name == "link"]
    assert (links[0], links[-1]) == ("fdet.json", "manifest.json")
    durable = steps.published("manifest.json")[1]
    assert durable < steps.calls.index(("report", "sealed", ""))


def test_no_name_is_ever_given_twice(steps):
    links = [new for name, _, new in steps.calls if name == "link"]
    assert len(set(links)) == len(links)
    assert {name for name, _, _ in steps.calls}.isdisjoint({"rename", "renameat", "renameat2"})


@pytest.mark.parametrize("store", STORES)
def test_killed_before_any_call_that_changes_the_disk(store):
    assert drive("kill")[store]["failures"] == []


@pytest.mark.parametrize("store", STORES)
def test_killed_before_any_call_for_a_codecs_files(store):
    found = drive("kill among codec files")[store]
    assert found["failures"] == []
    assert found["points"] >= found["refused"] >= 20


def test_there_are_more_than_200_points_to_be_killed_at():
    assert sum(found["points"] for found in drive("kill").values()) >= 200


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("job", ["kill one of four", "kill all four"])
def test_four_writers_of_which_some_are_killed(store, job):
    found = drive(job)[store]
    assert found["failures"] == []
    assert found["killed"] == found["points"]


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("job", ["fail", "fill"])
def test_an_error_at_any_site_or_a_full_disk_at_any_call(store, job):
    found = drive(job)[store]
    assert found["failures"] == []
    assert found["points"] >= 60


@pytest.mark.parametrize("store", STORES)
def test_an_error_at_any_site_of_a_run_that_goes_on_after_a_killed_one(store):
    found = drive("fail resumed")[store]
    assert found["failures"] == []
    assert found["points"] >= 60
