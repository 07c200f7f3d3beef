"""examples/first_detector.ipynb runs from its first cell to its last, and keeps what it printed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..test_examples import PHOTOGRAPHS, make_photograph

EXAMPLES = Path(__file__).parents[2] / "examples"
NAME = "first_detector.ipynb"


def cells(path: Path) -> list[dict]:
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]


def kinds(cell: dict) -> set[str]:
    return {kind for output in cell["outputs"] for kind in output.get("data", {})}


def test_its_outputs_are_kept_and_are_of_one_execution():
    kept = cells(EXAMPLES / NAME)
    assert [cell["execution_count"] for cell in kept] == list(range(1, len(kept) + 1))
    assert not [o for cell in kept for o in cell["outputs"] if o["output_type"] == "error"]
    assert sum("image/png" in kinds(cell) for cell in kept) >= 4
    text = json.dumps([cell["outputs"] for cell in kept])
    assert "AP50" in text and "crowns" in text
    assert "site-packages" not in text and str(EXAMPLES.parent) not in text


@pytest.mark.slow
def test_it_runs_on_the_smallest_data(tmp_path):
    pytest.importorskip("nbmake")
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("work"))
    for name in PHOTOGRAPHS:
        make_photograph(folder / "trees/work/photographs/deepforest/data" / name)
    words = ["--nbmake", "--nbmake-timeout=600", "--overwrite", "-p", "no:cacheprovider", NAME]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", str(folder), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "SIZE": "64", "EPOCHS": "1", "OMP_NUM_THREADS": "1"},
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    pictures = [
        ["image/png" in kinds(cell) for cell in cells(f / NAME)] for f in (folder, EXAMPLES)
    ]
    assert pictures[0] == pictures[1]
