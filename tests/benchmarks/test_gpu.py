"""The GPU suite: what it does without a GPU, how it judges, and all of it on a CPU at its smallest size."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fdet.benchmarks.gpu.__main__ import PARTS, main
from fdet.benchmarks.gpu.outcome import Check, Skipped, outcomes, within
from fdet.benchmarks.gpu.parity import matched
from fdet.heads.types import Detections

ROOT = Path(__file__).parents[2]


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_without_a_gpu_each_part_is_skipped_with_a_reason(no_gpu, capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(PARTS)
    assert all(re.fullmatch(r"skipped  .+: torch finds no GPU; .+", line) for line in lines)


def test_a_device_that_is_asked_for_and_not_there_is_an_error(no_gpu, capsys):
    assert main(["--device", "cuda:9"]) == 2
    assert "--device cuda:9: not usable here" in capsys.readouterr().err


def test_a_check_that_fails_ends_no_other_and_none_begins_too_late():
    def skip() -> str:
        raise Skipped("no such thing")

    def run_out_of_memory() -> str:
        raise torch.OutOfMemoryError("CUDA out of memory")

    checks = [
        Check("far", lambda: within(0.2, 0.1, "difference")),
        Check("no number", lambda: within(float("nan"), 0.1, "difference")),
        Check("near", lambda: within(0.05, 0.1, "difference")),
        Check("absent", skip),
        Check("large", run_out_of_memory),
        Check("broken", lambda: {}["x"]),
    ]
    found = [one.state for one in outcomes(checks, time.monotonic() + 60)]
    assert found == ["failed", "failed", "ok", "skipped", "skipped", "failed"]
    assert [one.text for one in outcomes(checks, 0.0)] == ["no time is left"] * len(checks)


def found(*boxes, scores=(0.9, 0.5), labels=(0, 1)) -> list[Detections]:
    return [Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels))]


BOXES = ([0.0, 0, 10, 10], [20.0, 20, 40, 40])


def test_detections_match_whatever_their_order():
    swapped = found(*BOXES[::-1], scores=(0.5, 0.9), labels=(1, 0))
    assert "of 4: 0," in matched(found(*BOXES), swapped, 0.0, 0.99, 0.01)


@pytest.mark.parametrize(
    "other",
    [
        found(BOXES[0], [20.0, 20, 40, 44]),
        found(*BOXES, labels=(0, 2)),
        found(*BOXES, scores=(0.9, 0.4)),
    ],
    ids=["box", "label", "score"],
)
def test_a_detection_that_differs_has_no_partner(other):
    with pytest.raises(AssertionError, match=r"of 4: 0\.5, allowed 0\.4"):
        matched(found(*BOXES), other, 0.4, 0.99, 0.01)


def test_nothing_found_is_no_agreement():
    nothing = [Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))]
    with pytest.raises(AssertionError, match="neither finds anything"):
        matched(nothing, nothing, 0.5, 0.5, 0.5)


@pytest.mark.slow
def test_the_suite_runs_on_a_cpu_from_a_plain_checkout(tmp_path):
    (tmp_path / "fdet").symlink_to(ROOT)
    page = tmp_path / "GPU.md"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "fdet.benchmarks.gpu", "--device", "cpu", "--quick"),
            "--out",
            page,
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 failed, 3 skipped" in done.stdout
    text = page.read_text()
    assert "- device: cpu" in text and re.search(r"- date: \d{4}-\d\d-\d\d", text)
    assert not re.search(r"\| test_resnet \|.* - \|", text)  # every figure is there
    assert (
        not (ROOT / "benchmarks" / "GPU.md").exists()
        or "device: cpu" not in (ROOT / "benchmarks" / "GPU.md").read_text()
    )
