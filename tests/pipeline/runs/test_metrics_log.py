"""The log of a run: what was written comes back, and another's is read as hostile input."""

import json
import os

import pytest
from typer.testing import CliRunner

from fdet.cache.errors import CorruptCache
from fdet.pipeline.cli import app
from fdet.pipeline.runs import metrics_log
from fdet.pipeline.tools.reporting.assemble import assemble
from fdet.pipeline.tools.reporting.checks import find_runs
from fdet.pipeline.tools.reporting.records import read_records

from ..tools.reporting.made_up import write_run

TRAIN = {
    **{"kind": "train", "step": 1, "epoch": 1, "loss": 0.5, "losses": {"box": 0.5}, "lr": 0.1},
    **{"seconds": 2.0, "images_per_second": 4.0, "waiting": 0.1, "process_memory_mb": 900},
}
EVAL = {"kind": "eval", "step": 1, "epoch": 1, "metrics": {"ap": 0.3, "per_class": {"disc": None}}}


def write(run, *lines):
    (run / metrics_log.NAME).write_text("".join(f"{line}\n" for line in lines))


def test_what_was_appended_is_read_and_what_a_kill_cut_off_is_left_out(tmp_path):
    overflowed = {**TRAIN, "loss": float("nan")}
    for line in (TRAIN, EVAL, overflowed):
        metrics_log.append(tmp_path, line)
    with (tmp_path / metrics_log.NAME).open("a") as file:
        file.write(json.dumps(TRAIN)[:20])
    found = metrics_log.read(tmp_path)
    assert found[:2] == [TRAIN, EVAL] and len(found) == 3
    assert metrics_log.read(tmp_path / "absent") == []


TIMELESS = {"train": {"seconds": 0.0}}


def nested(depth):
    return "[" * depth + "]" * depth


LINES = {
    "not JSON": "{",
    "no object": "[]",
    "no kind": json.dumps({**TRAIN, "kind": None}),
    "no step": json.dumps({"kind": "train"}),
    "a step that is none": json.dumps({**TRAIN, "step": "7"}),
    "a step below zero": json.dumps({**TRAIN, "step": -1}),
    "an epoch with a fraction": json.dumps({**TRAIN, "epoch": 1.5}),
    "a huge step": json.dumps({**TRAIN, "step": 10**30}),
    "a huge number elsewhere": json.dumps({**EVAL, "metrics": {"ap": 10**400}}),
    "a number of too many digits": '{"kind": "train", "step": ' + "9" * 5000 + "}",
    "times without end": json.dumps({**TRAIN, "seconds": float("inf")}),
    "times that are none": json.dumps({**TRAIN, "seconds": float("nan")}),
    "negative times": json.dumps({**TRAIN, "seconds": -2.0}),
    "times that are true": json.dumps({**TRAIN, "seconds": True}),
    "a text for memory": json.dumps({**TRAIN, "process_memory_mb": "all"}),
    "nested": json.dumps({**EVAL, "metrics": {"ap": "X"}}).replace('"X"', nested(50)),
    "nested beyond the parser": '{"kind": "train", "step": 1, "x": ' + nested(100_000) + "}",
    "no metrics": json.dumps({**EVAL, "metrics": 3}),
    "a long line": json.dumps({**TRAIN, "losses": {"x" * 5_000_000: 1}}),
    "another encoding": "\ud800",
}


@pytest.mark.parametrize("what", LINES)
def test_a_line_that_is_not_ours_is_named(what, tmp_path):
    data = LINES[what].encode(errors="surrogatepass")
    (tmp_path / metrics_log.NAME).write_bytes(json.dumps(TRAIN).encode() + b"\n" + data + b"\n")
    with pytest.raises(CorruptCache, match=r"metrics\.jsonl, line 2: "):
        metrics_log.read(tmp_path)
    with pytest.raises(CorruptCache):
        metrics_log.cut_back(tmp_path, 1, True)


def pipe(path):
    os.mkfifo(path)


def link(path):
    path.with_name("elsewhere").write_text(json.dumps(TRAIN) + "\n")
    path.symlink_to("elsewhere")


def broken_link(path):
    path.symlink_to("nowhere")


def folder(path):
    path.mkdir()


def sparse(path):
    with path.open("wb") as file:
        file.truncate(20 * 2**30)


@pytest.mark.parametrize("made", [pipe, link, broken_link, folder, sparse])
def test_what_is_no_file_of_a_usual_size_is_refused_at_once(made, tmp_path):
    made(tmp_path / metrics_log.NAME)
    with pytest.raises(CorruptCache, match=r"metrics\.jsonl"):
        metrics_log.read(tmp_path)


def bad(made):
    def spoil(run):
        (run / metrics_log.NAME).unlink()
        made(run / metrics_log.NAME)

    return spoil


SPOILT = {
    **{made.__name__: bad(made) for made in (pipe, link, broken_link, folder, sparse)},
    **{
        what: lambda run, line=line: write(run, line)
        for what, line in LINES.items()
        if line != "\ud800"
    },
    "metrics of another kind": lambda run: write(
        run, json.dumps(TRAIN), json.dumps({**EVAL, "metrics": {"ap": {}, "per_class": []}})
    ),
    "nothing that a step says": lambda run: write(run, json.dumps({"kind": "train", "step": 1})),
    "run.json is a link": lambda run: (
        (run / "run.json").rename(run / "other.json"),
        (run / "run.json").symlink_to("other.json"),
    ),
    "a checkpoint is a pipe": lambda run: (
        (run / "last.safetensors").unlink(),
        os.mkfifo(run / "last.safetensors"),
    ),
}


@pytest.mark.parametrize("what", SPOILT)
def test_one_bad_run_is_one_line_of_the_report(what, tmp_path):
    write_run(tmp_path / "good")
    SPOILT[what](write_run(tmp_path / "spoilt"))
    good, spoilt = read_records(find_runs([tmp_path]))
    assert good.finished
    assert spoilt.state in ("unreadable", "unfinished") and "\n" not in spoilt.note and spoilt.note


def test_steps_that_took_no_time_are_no_error(tmp_path):
    runs = [write_run(tmp_path / "runs" / name, seed=seed) for name, seed in (("a", 0), ("b", 1))]
    for run in runs:
        write(
            run, *(json.dumps({**x, **TIMELESS.get(x["kind"], {})}) for x in metrics_log.read(run))
        )
    for record in read_records(runs):
        assert record.finished and record.figures["images_per_second"] is None
    assemble([tmp_path / "runs"], tmp_path / "page.html")
    for format in ("table", "md", "csv", "json"):
        done = CliRunner().invoke(app, ["report", str(tmp_path / "runs"), "--format", format])
        assert done.exit_code == 0, done.output


def test_a_log_of_very_many_epochs_is_read_in_one_pass(tmp_path):
    run = write_run(tmp_path / "run")
    write(run, *(json.dumps({**TRAIN, "step": k, "epoch": k}) for k in range(1, 20_000)))
    (record,) = read_records([run])
    assert len(record.learning_curve) == 19_999
