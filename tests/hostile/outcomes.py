"""From a corpus to a test a case: all are tried at once, in a process of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Threads of their own would take address space, which the cases have little of.
FEW_THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}

Outcome = Mapping[str, list[str]]


def wanted(request: pytest.FixtureRequest) -> list[str]:
    """The names of the cases that this run has chosen of the requesting file's."""
    items = [item for item in request.session.items if item.path == request.path]
    return [item.callspec.params["name"] for item in items if hasattr(item, "callspec")]


def tried(corpus: str, names: Collection[str], folder: Path) -> Mapping[str, Outcome]:
    """What came of each case."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.watched", corpus, str(folder)],
        input=json.dumps(list(names)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **FEW_THREADS},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
