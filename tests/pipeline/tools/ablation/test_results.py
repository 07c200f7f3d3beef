"""The tidy table: every evaluation once, the same in every format, and its summary by hand."""

import csv
import json

import pytest

from fdet.cache.format.header import CacheHeader
from fdet.cache.format.manifest import Manifest
from fdet.pipeline.evaluation.coco import FIGURES
from fdet.pipeline.runs import metrics_log
from fdet.pipeline.tools.ablation.results import COLUMNS, lines_of, write_results
from fdet.pipeline.tools.ablation.run import ablate

PLAN = """[axes]
head = [{name = "fcos", convs = 1}, {name = "retinanet", convs = 1}]
"optim.lr" = [1e-3, 1e15]
[base.optim]
name = "sgd"
[base.schedule]
warmup_steps = 0
"""


@pytest.fixture
def done(options, here):
    return ablate(options(PLAN))


def test_every_evaluation_is_a_row_with_its_figures(done, exact_cache):
    rows = done.rows()
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    for trial in done.trials:
        own = [row for row in rows if row["digest"] == trial.digest]
        lines = metrics_log.read(done.state.folder(trial))
        evals = [line for line in lines if line["kind"] == "eval"]
        assert len(own) == max(1, len(evals))
        for row, line in zip(own, evals, strict=False):
            assert row["epoch"] == line["epoch"]
            assert [row[name] for name in FIGURES] == [line["metrics"][name] for name in FIGURES]
            assert row["AP of disc"] == line["metrics"]["per_class"]["disc"]
            past = [s for s in lines if s["kind"] == "train" and s["epoch"] <= line["epoch"]]
            assert row["seconds"] == pytest.approx(sum(s["seconds"] for s in past), abs=1e-2)
            assert row["process_mb"] == max(s["process_memory_mb"] for s in past)
        assert [row["optim.lr"] for row in own] == [trial.config.optim.lr] * len(own)
        assert own[0]["head"] == trial.labels["head"] and own[0]["train.epochs"] == 2
        assert own[0]["trained"] == trial.trained
    size = Manifest.read(exact_cache, CacheHeader.read(exact_cache)).stored_bytes
    assert {row["cache_bytes"] for row in rows} == {size}
    assert set(COLUMNS) <= set(rows[0])


def test_one_that_failed_has_a_row_with_its_reason(done):
    failed = [row for row in done.rows() if row["optim.lr"] == 1e15]
    assert len(failed) >= 2
    for row in failed:
        assert row["state"] == "failed" and "the loss is" in row["note"]


def test_the_best_evaluation_of_each_is_marked(done):
    rows = [row for row in done.rows() if row["state"] == "finished"]
    for digest in {row["digest"] for row in rows}:
        own = [row for row in rows if row["digest"] == digest]
        (best,) = [row for row in own if row["best"]]
        assert best["ap"] == max(row["ap"] for row in own)


def test_the_files_say_the_same(done):
    out, rows = done.state.out, done.rows()
    told = json.loads((out / "results.json").read_text())
    assert told["rows"] == rows and told["columns"] == dict(COLUMNS)
    with (out / "results.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [list(row) for row in found] == [list(row) for row in rows]
    for mine, theirs in zip(rows, found, strict=True):
        assert {n: "" if v is None else str(v) for n, v in mine.items()} == theirs


def test_parquet_has_the_same_rows(done):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(done.state.out / "results.parquet").to_pylist() == done.rows()


def made_up(trial, ap, epoch, state="finished", best=True):
    about = {"digest": trial.digest, "run": trial.id, "trained": 5, "share": 0.5, "state": state}
    return {**about, "ap": ap, "epoch": epoch, "best": best, "seconds": 10.0 * epoch}


def test_seeds_are_one_line_and_the_best_comes_first(options):
    from fdet.pipeline.tools.ablation.run import prepared

    trials = prepared(options("[axes]\n'optim.lr' = [1.0, 2.0, 3.0]", "seeds = [0, 1]")).trials
    rows = [
        *(made_up(trials[0], 0.1, 1, best=False), made_up(trials[0], 0.2, 2)),
        *(made_up(trials[3], 0.4, 4), made_up(trials[1], 0.5, 1)),
        made_up(trials[4], 0.9, 1, state="pruned"),
        *(made_up(t, None, 0, state="failed", best=None) for t in (trials[2], trials[5])),
    ]
    lines = lines_of(trials, rows)
    assert [line.labels["optim.lr"] for line in lines] == ["2.0", "1.0", "3.0"]
    second = lines[1]
    assert (second.ap.mean, second.ap.minimum, second.ap.maximum) == (pytest.approx(0.3), 0.2, 0.4)
    assert (second.seeds, second.seconds) == (2, 30.0)
    assert (lines[0].seeds, lines[0].ap.mean, lines[2].ap) == (1, 0.5, None)


def test_words_among_numbers_are_text_in_parquet(tmp_path):
    """Such as a normaliser that is "image" in one trial and a number in the next."""
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {"digest": "a", "head.normaliser": "image", "ap": 0.5, "views": None},
        {"digest": "b", "head.normaliser": 4.5, "ap": None, "views": 2},
        {"digest": "c", "head.normaliser": None, "ap": 0.25, "views": 3},
    ]
    write_results(tmp_path, rows)
    read = parquet.read_table(tmp_path / "results.parquet").to_pydict()
    assert read["head.normaliser"] == ["image", "4.5", None]
    assert read["ap"] == [0.5, None, 0.25]
    assert read["views"] == [None, 2, 3]
