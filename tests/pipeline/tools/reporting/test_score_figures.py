"""What an evaluation says of its scores reaches the page checked, and only as much as a page can show."""

import copy
import json
import os

import numpy as np
import pytest

from fdet.pipeline.runs.evaluations import file_digest
from fdet.pipeline.tools.reporting.page import payload
from fdet.pipeline.tools.reporting.records import read_records
from fdet.pipeline.tools.reporting.report import make_report
from fdet.pipeline.tools.reporting.score_figures import CLASSES, score_figures_of
from fdet.pipeline.tools.reporting.scores import with_errors

from .made_up import write_run


def one(objects, threshold=0.4):
    values = {"precision": 0.8, "recall": 0.5, "f1": 0.6}
    curve = np.linspace(1, 0, 101).round(4).tolist()
    return {"objects": objects, "threshold": threshold, **values, "precision_at_recall": curve}


def content(classes=2):
    return {
        "scores": {
            "all": one(10),
            "classes": {f"c{k}": one(k) for k in range(classes)},
            "calibration": {"bins": [[3, 0.05, 0.0], [0, 0.0, 0.0]], "error": 0.1},
            "confusion": [[k, k, 5] for k in range(classes)] + [[0, classes, 2], [classes, 0, 1]],
        }
    }


def test_the_figures_of_few_classes_stay_as_they_are():
    found = score_figures_of(content())
    assert [row["name"] for row in found["classes"]] == ["c0", "c1"] and found["others"] == 0
    assert found["all"]["threshold"] == 0.4 and len(found["all"]["curve"]) == 101
    assert found["confusion"] == [[0, 0, 5], [0, 2, 2], [1, 1, 5], [2, 0, 1]]
    assert found["bins"][0] == [3, 0.05, 0.0]


def test_of_many_classes_those_with_most_objects_are_kept_and_the_others_count_together():
    found = score_figures_of(content(CLASSES + 3))
    assert [row["name"] for row in found["classes"]] == [f"c{k}" for k in range(3, CLASSES + 3)]
    assert found["others"] == 3
    cells = {(true, hit): count for true, hit, count in found["confusion"]}
    assert cells[CLASSES, CLASSES] == 15, "three other classes"
    assert cells[CLASSES, CLASSES + 1] == 2 and cells[CLASSES + 1, CLASSES] == 1, (
        "c0 is one of them"
    )


def test_an_older_evaluation_says_nothing():
    assert score_figures_of({"ap": 0.5}) == {} == score_figures_of({"scores": None})


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("all", "threshold"), 2.0),
        (("all", "precision"), float("nan")),
        (("all", "objects"), -1),
        (("all", "objects"), "9"),
        (("all", "precision_at_recall"), ["x"]),
        (("classes",), []),
        (("classes", "c0"), 1),
        (("calibration", "bins"), [[1, 2]]),
        (("confusion",), [[0, 99, 1]]),
        (("confusion",), [[-1, 0, 1]]),
        (("confusion",), {"a": 1}),
        (("calibration",), None),
    ],
)
def test_anything_else_is_refused_and_the_run_stays_without_figures(tmp_path, caplog, place, value):
    spoilt = copy.deepcopy(content())
    target = spoilt["scores"]
    for name in place[:-1]:
        target = target[name]
    target[place[-1]] = value
    with pytest.raises((LookupError, TypeError, ValueError)):
        score_figures_of(spoilt)
    run = write_run(tmp_path / "run", errors={})
    (run / "evaluation-val.json").write_text(json.dumps(spoilt))
    (record,) = with_errors(read_records([run]), None, None, "cpu", 1)
    assert record.finished and record.scores == {}
    assert "the evaluation cannot be read" in caplog.text


def test_the_page_has_the_figures_of_the_best_runs(tmp_path):
    run = write_run(tmp_path / "run", errors={})
    (run / "evaluation-val.json").write_text(json.dumps(content()))
    report = make_report(with_errors(read_records([run]), None, None, "cpu", 1))
    assert payload(report)["scores"] == {"run": score_figures_of(content())}


def test_an_evaluation_with_another_nms_is_not_that_of_the_run(tmp_path):
    """Even where it is the newest, and however its file is spoilt."""
    run = write_run(tmp_path / "run", errors={})
    of = {"weights": file_digest(run / "best.safetensors"), "cache": "c" * 64}
    own = run / "evaluation-val.json"
    own.write_text(json.dumps({**content(), "of": of}))
    os.utime(own, (1_000, 1_000))
    for k, more in enumerate(({"nms": "agnostic"}, {"nms": "agnostic", "cache": ["c"]})):
        other = {"scores": None, "of": {**of, **more}}
        (run / f"evaluation-val-{k}.json").write_text(json.dumps(other))
    (record,) = with_errors(read_records([run]), None, None, "cpu", 1)
    assert record.scores == score_figures_of(content())
