"""The tidy table in every format, and the table of groups."""

import csv
import io
import json
from pathlib import Path

import pytest

from fdet.pipeline.runs.rows import to_csv
from fdet.pipeline.tools.reporting.records import read_records
from fdet.pipeline.tools.reporting.report import make_report
from fdet.pipeline.tools.reporting.terminal import table_rows, to_markdown
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
    assert heads[:6] == ["head", "codec", "runs", "epochs", "AP", "range"]
    assert len(rows) == 9 and {row[3] for row in rows} == {"3"}
    assert [float(row[4]) for row in rows] == sorted((float(row[4]) for row in rows), reverse=True)
    assert 10 < float(rows[0][4]) < 100, "points"
    assert ["retinanet", "fp16", "3/4"] in [row[:3] for row in rows]


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
