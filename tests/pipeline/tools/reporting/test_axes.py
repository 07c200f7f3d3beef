"""Axes are where runs differ; groups differ in the seed alone."""

from dataclasses import replace

import pytest

from fdet.pipeline.tools.reporting.axes import axes_of, groups_of, named_trials, shown
from fdet.pipeline.tools.reporting.records import read_records

from .made_up import write_grid, write_run


def read(*runs):
    records = read_records(runs)
    axes = axes_of(records)
    return records, axes, groups_of(records, axes)


def test_equal_runs_have_no_axis_and_make_one_group(tmp_path):
    _, axes, groups = read(*(write_run(tmp_path / f"run-{s}", seed=s) for s in range(3)))
    assert axes == []
    assert [(group.label, group.runs) for group in groups] == [("run-0", (0, 1, 2))]


def test_the_axes_of_a_grid(tmp_path):
    write_grid(tmp_path)
    records, axes, groups = read(*sorted((tmp_path / "runs").iterdir()))
    assert [axis.label for axis in axes] == ["head", "codec"]
    assert all(axis.along == () for axis in axes)
    assert len(groups) == 9 and all(len(group.runs) == 3 for group in groups)
    assert "fcos int8" in {group.label for group in groups}
    assert {records[k].name for k in groups[0].runs} == {f"faster-rcnn-fp16-{s}" for s in range(3)}


def test_what_always_changes_together_is_one_axis(tmp_path):
    small = write_run(tmp_path / "a", settings=["head.name=fcos", "optim.lr=0.1"])
    _, axes, _ = read(write_run(tmp_path / "b"), small)
    assert [(axis.name, axis.along) for axis in axes] == [("head.name", ("optim.lr",))]


def test_what_belongs_to_an_axis_is_not_along_it(tmp_path):
    other = write_run(tmp_path / "b", backbone="other", weights_sha256="cd" * 32)
    _, axes, _ = read(write_run(tmp_path / "a"), other)
    assert [(axis.name, axis.along) for axis in axes] == [("backbone", ())]


def test_trials_of_ablations_have_names_from_what_differs(tmp_path):
    runs = [
        write_run(
            tmp_path / f"{k:012x}", seed=seed, settings=[f"head.name={head}", f"optim.lr={lr}"]
        )
        for k, (head, lr, seed) in enumerate(
            [("fcos", 0.001, 0), ("fcos", 0.01, 0), ("retinanet", 0.001, 1), ("retinanet", 0.01, 1)]
        )
    ]
    records, axes, groups = read(*runs, write_run(tmp_path / "by hand", settings=["optim.lr=0.1"]))
    names = [record.name for record in named_trials(records, axes)]
    assert names[:3] == ["fcos lr=0.001 seed=0", "fcos lr=0.01 seed=0", "retinanet lr=0.001 seed=1"]
    assert names[-1] == "by hand" and groups[0].label == "fcos lr=0.001"


def test_with_many_axes_a_name_has_what_is_unusual(tmp_path):
    changes = [
        "optim.lr=0.1",
        "neck.norm=none",
        "head.norm=none",
        "head.convs=1",
        "train.clip_norm=2",
    ]
    runs = [
        write_run(tmp_path / f"{k:012x}", settings=change)
        for k, change in enumerate([["head.name=fcos"], *([c] for c in changes), []])
    ]
    records, axes, groups = read(*runs)
    names = [record.name for record in named_trials(records, axes)]
    assert names == [
        *("fcos", "retinanet lr=0.1", "retinanet neck.norm=none", "retinanet head.norm=none"),
        *("retinanet convs=1", "retinanet clip_norm=2", "retinanet"),
    ]
    assert [group.label for group in groups] == names


def test_trials_that_do_not_differ_keep_names_of_their_own(tmp_path):
    runs = [write_run(tmp_path / place / f"{k:012x}") for k, place in enumerate(("a", "b"))]
    records, axes, _ = read(*runs)
    assert [r.name for r in named_trials(records, axes)] == [f"{k:012x}" for k in range(2)]
    third = write_run(tmp_path / "c" / f"{2:012x}", settings=["optim.lr=0.1"])
    records, axes, _ = read(*runs, third)
    names = [record.name for record in named_trials(records, axes)]
    assert names == [f"lr=0.0005 ({k:012x})" for k in range(2)] + ["lr=0.1"]


def test_settings_of_one_head_are_axes_among_its_runs(tmp_path):
    runs = [write_run(tmp_path / f"{c}", settings=[f"head.convs={c}"]) for c in (1, 2)]
    _, axes, _ = read(*runs, write_run(tmp_path / "r", settings=["head.name=faster-rcnn"]))
    assert [axis.label for axis in axes] == ["head", "head.convs"]
    assert axes[1].values[:2] == (1, 2)


def begun_with(record, start):
    return replace(record, info=replace(record.info, data={**record.info.data, "start": start}))


def test_seeds_that_go_on_from_runs_of_their_own_are_one_group(tmp_path):
    runs = [
        write_run(tmp_path / f"{name}-{seed}", seed=seed, settings=settings)
        for name, settings in (("one", []), ("two", ["head.class_balance=0.9"]))
        for seed in range(3)
    ]
    records = read_records(runs)
    records[3:] = [begun_with(r, str(k) * 64) for k, r in enumerate(records[3:])]
    axes = axes_of(records)
    assert [(axis.name, axis.along) for axis in axes] == [("head.class_balance", ("start",))]
    assert [group.runs for group in groups_of(records, axes)] == [(0, 1, 2), (3, 4, 5)]


def test_two_starts_of_the_same_seed_are_told_apart(tmp_path):
    records = read_records([write_run(tmp_path / name) for name in "abc"])
    records[1:] = [begun_with(r, str(k) * 64) for k, r in enumerate(records[1:])]
    (axis,) = axes_of(records)
    assert axis.name == "start" and axis.values == ("fresh weights", "0" * 24, "1" * 24)


def test_a_run_that_cannot_be_read_is_in_no_group(tmp_path):
    run = write_run(tmp_path / "broken")
    (run / "run.json").write_text("{")
    _, axes, groups = read(write_run(tmp_path / "a"), run, write_run(tmp_path / "b", codec="int8"))
    assert axes[0].values == ("fp16", None, "int8")
    assert sorted(k for group in groups for k in group.runs) == [0, 2]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (True, "yes"),
        (0.0005, "0.0005"),
        (3, "3"),
        ((1.0, 2.0), "1, 2"),
        ((), "none"),
        ("fp16", "fp16"),
    ],
)
def test_values_for_people(value, text):
    assert shown(value) == text
