"""From a corpus to a test a case: all are tried at once, in processes of their own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
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


def tried(corpus: str, names: Collection[str]) -> Mapping[str, Outcome]:
    """What came of each case; half of them in each of two processes, where no tests run beside these."""
    count = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
    parts = [list(names)[part::count] for part in range(count)]
    with tempfile.TemporaryDirectory(dir=_fast_folder()) as base:
        folders = [Path(base).resolve() / f"{part}" for part in range(count)]
        running = [_started(corpus, folder) for folder in folders]
        with ThreadPoolExecutor(count) as pool:
            told = list(pool.map(_told, running, parts))
    return {name: outcome for part in told for name, outcome in part.items()}


def _fast_folder() -> Path | None:
    """In memory where there is enough of it: a container may have next to none there."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and shutil.disk_usage(shared).free >= 2**31 else None


def _started(corpus: str, folder: Path) -> subprocess.Popen[str]:
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "tests.hostile.watched", corpus, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **FEW_THREADS},
    )


def _told(process: subprocess.Popen[str], names: Collection[str]) -> Mapping[str, Outcome]:
    told, errors = process.communicate(json.dumps(names))
    assert process.returncode == 0, errors[-3000:]
    return json.loads(told)
