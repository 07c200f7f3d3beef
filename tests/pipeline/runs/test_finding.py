"""Runs are found in a folder itself and below it, in the order of their numbers."""

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.runs.finding import find_runs

from ..tools.reporting.made_up import write_run


def test_runs_are_found_in_the_folder_and_two_levels_below(tmp_path):
    write_run(tmp_path / "one")
    write_run(tmp_path / "runs" / "two")
    write_run(tmp_path / "runs" / ".hidden")
    write_run(tmp_path / "runs" / "deep" / "three")
    found = find_runs([tmp_path, tmp_path / "one"])
    assert [run.name for run in found] == ["one", "two"]


def test_runs_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("a-10", "a-2", "a-1"):
        write_run(tmp_path / name)
    assert [run.name for run in find_runs([tmp_path])] == ["a-1", "a-2", "a-10"]


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match="no run in it"):
        find_runs([tmp_path])
    with pytest.raises(InputError, match="no such folder"):
        find_runs([tmp_path / "absent"])


def test_a_folder_may_be_without_runs_where_they_are_waited_for(tmp_path):
    assert find_runs([tmp_path], may_be_empty=True) == []
    with pytest.raises(InputError, match="no such folder"):
        find_runs([tmp_path / "absent"], may_be_empty=True)
