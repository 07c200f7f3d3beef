"""fdet ablate as it is typed: what it says, and its exit status."""

import pytest
from typer.testing import CliRunner

from fdet.pipeline.cli import app

BROKEN = """[axes]
"optim.lr" = [1e-3, 1e15]
[base.optim]
name = "sgd"
[base.schedule]
warmup_steps = 0
"""


@pytest.fixture
def run(write, here):
    def called(*words, below="", above=""):
        plan = write(below, above)
        return CliRunner().invoke(app, ["ablate", str(plan), "--device", "cpu", *words])

    return called


def test_a_dry_run_lists_the_trials_and_starts_none(run, here, tmp_path):
    found = run("--dry-run", "--threads", "1", below="[axes]\n'head.convs' = [1, 2]")
    assert found.exit_code == 0, found.output
    assert "2 trials, 2 to run: about" in found.stdout
    for word in ("head.convs", "trained", "share", "seconds"):
        assert word in found.stdout
    assert here.jobs == [] and not (tmp_path / "out").exists()


def test_what_was_found_is_a_table_and_a_failure_is_exit_1(run, here):
    found = run(below=BROKEN)
    assert found.exit_code == 1, found.output
    assert "1 of 2 trials finished, 1 failed" in found.stdout
    rows = [line.split() for line in found.stdout.splitlines()]
    (good,) = [row for row in rows if row[:1] == ["0.001"]]
    (bad,) = [row for row in rows if row[-1:] == ["failed"]]
    assert float(good[1]) >= 0 and bad[1:4] == ["-", "-", "-"]


def test_paths_of_the_command_line_go_first(run, tmp_path, exact_cache):
    words = ("--out", str(tmp_path / "other"), "--val", str(exact_cache))
    assert run(*words).exit_code == 0
    assert (tmp_path / "other" / "results.csv").is_file() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "below", "said"),
    [
        ((), "[axes]\n'optim.lrr' = [1.0]", "unknown setting 'optim.lrr'; did you mean 'optim.lr'"),
        (("--jobs", "0"), "", "--jobs: expected at least 1, got 0"),
        (("--cache", "nowhere"), "", "nowhere is not a cache"),
        (("--engine", "rai"), "", "--engine 'rai'; did you mean 'ray'?"),
        (("--gpus-per-trial", "0.5"), "", "--gpus-per-trial: belongs to --engine ray"),
        (("--cpus-per-trial", "2"), "", "--cpus-per-trial: belongs to --engine ray"),
        (("--engine", "ray", "--jobs", "2"), "", "--jobs: belongs to --engine local"),
        (
            ("--engine", "ray", "--gpus-per-trial", "1.5"),
            "",
            "--gpus-per-trial: expected 0, a part",
        ),
    ],
)
def test_what_cannot_be_is_a_line_and_exit_2(words, below, said, run, here):
    found = run(*words, below=below)
    assert found.exit_code == 2
    assert said in found.stderr and "Traceback" not in found.stderr
    assert here.jobs == []
