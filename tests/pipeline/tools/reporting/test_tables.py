"""The tidy table in every format, and the table of groups."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.rows import to_csv
from fdet.pipeline.tools.reporting.records import read_records
from fdet.pipeline.tools.reporting.report import make_report
from fdet.pipeline.tools.reporting.terminal import rich_report, table_rows, to_markdown
from fdet.pipeline.tools.reporting.tidy import COLUMNS, to_json

from .made_up import write_grid, write_run


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = write_grid(tmp_path_factory.mktemp("grid"))
    (folder / "runs" / "torn").mkdir()
    (folder / "runs" / "torn" / "run.json").write_text("{")
    write_run(folder / "runs" / "half", seed=5, reached=1)
    return make_report(read_records(sorted((folder / "runs").iterdir())))


def test_a_row_a_run_and_the_same_columns_in_each(report):
    assert len(report.rows) == 29
    assert all(list(row) == list(report.rows[0]) for row in report.rows)
    named = [*COLUMNS, "head.name", "codec", "AP of cell", "AP of dish"]
    assert [c for c in report.rows[0] if not c.startswith("AP50 lost")] == named


def test_csv_is_read_back(report):
    rows = list(csv.DictReader(io.StringIO(to_csv(report.rows))))
    assert [row["run"] for row in rows] == [record.name for record in report.records]
    assert float(rows[0]["ap"]) == report.rows[0]["ap"]
    torn = next(row for row in rows if row["run"] == "torn")
    assert torn["state"] == "unreadable" and torn["ap"] == ""


def test_json_has_runs_effects_and_what_the_columns_are(report):
    found = json.loads(to_json(report.rows, report.effects["ap"]))
    assert found["columns"] == dict(COLUMNS)
    assert found["runs"] == report.rows
    assert {effect["verdict"] for effect in found["effects"]} == {
        "higher",
        "lower",
        "no difference",
    }


def test_the_table_has_a_row_a_group_best_first(report):
    heads, *rows = table_rows(report)
    assert heads[:7] == ["run", "head", "codec", "runs", "epochs", "AP", "range"]
    assert len(rows) == 9 and {row[4] for row in rows} == {"3"}
    assert [float(row[5]) for row in rows] == sorted((float(row[5]) for row in rows), reverse=True)
    assert 10 < float(rows[0][5]) < 100, "points"
    assert ["half and 3 more", "retinanet", "fp16", "3/4"] in [row[:4] for row in rows]


def printed(report, width):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(rich_report(report, width))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def of_runs(folder, settings):
    """The report on runs by name."""
    runs = [write_run(folder / name, 0.4, settings=own) for name, own in settings.items()]
    return make_report(read_records(runs))


NAMES = ("a", "a-long-name-of-a-run-that-says-all-that-was-set", "c")
# In two and in six settings.
FEW = ({}, {"head.name": "fcos"}, {"optim.lr": 0.004})
MANY = ({}, {"neck.channels": 32, "head.norm": "none"}, {"head.convs": 2, "optim.lr": 0.004})
MANY[1].update({"optim.weight_decay": 0.1, "train.clip_norm": 7})


def words_of(settings):
    return [f"{name}={value}" for name, value in settings.items()]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("settings", [FEW, MANY], ids=["few axes", "many axes"])
def test_names_stand_in_the_terminal_whatever_its_width(settings, width, tmp_path):
    report = of_runs(tmp_path, dict(zip(NAMES, map(words_of, settings), strict=True)))
    lines = printed(report, width)
    assert max(map(len, lines)) <= width
    table = next(k for k, line in enumerate(lines) if line.startswith(" run "))
    rows = [line.split()[0] for line in lines[table + 2 : table + 5]]
    assert rows[:1] + rows[2:] == ["a", "c"] and rows[1].startswith("a-long-name")
    heads = lines[table].split()
    assert {"runs", "epochs", "AP"} <= set(heads) and "range" not in heads
    rest = " ".join(" ".join(lines).partition("left out, as they do not fit: ")[2].split())
    for axis in report.axes:
        assert axis.label in heads or f"{axis.label}, " in rest.partition(" (")[0] + ", "


def test_trials_are_named_by_what_differs_where_the_axes_do_not_fit(tmp_path):
    trials = {f"{k:012x}": words_of(own) for k, own in enumerate(MANY)}
    report = of_runs(tmp_path, trials)
    found = " ".join(" ".join(printed(report, 40)).split())
    assert all(group.label in found for group in report.groups)
    assert not any(trial in line for line in printed(report, 40) for trial in trials)
    heads = next(line for line in printed(report, 240) if " runs " in line).split()
    assert heads[0] != "run" and "neck.channels" in heads


def test_markdown_says_what_is_not_finished(report):
    text = to_markdown(report)
    assert "29 runs (27 finished" in text
    assert "torn is unreadable" in text and "half is unfinished" in text
    assert "no difference shown" in text


def test_markdown_is_not_broken_by_names(tmp_path):
    report = make_report(read_records([write_run(tmp_path / "a|b<i>")]))
    assert r"a\|b&lt;i>" in to_markdown(report)


def test_the_front_of_each_cost(report):
    assert set(report.fronts) == {"trained", "seconds", "process_mb"}
    labels = [report.groups[k].label for k in report.fronts["seconds"]]
    assert labels[-1].startswith("faster-rcnn")


def test_every_column_is_in_the_documentation():
    text = (Path(__file__).parents[4] / "docs" / "reports.md").read_text()
    assert [name for name in COLUMNS if f"`{name}`" not in text] == []


def test_runs_without_an_ap_do_not_make_others_incomparable(tmp_path):
    runs = [write_run(tmp_path / name) for name in ("a", "b")]
    info = RunInfo.read(runs[1])
    data = {**info.data, "validation data": "none"}
    (runs[1] / "run.json").write_bytes(replace(info, data=data).to_bytes())
    (runs[1] / "last.safetensors").unlink()  # It names the run.json of before.
    said = "not validated on the same annotations"
    assert any(said in note for note in make_report(read_records(runs)).notes)
    lines = (runs[1] / "metrics.jsonl").read_text().splitlines(keepends=True)
    (runs[1] / "metrics.jsonl").write_text("".join(line for line in lines if '"train"' in line))
    assert not any(said in note for note in make_report(read_records(runs)).notes)
