"""What `make release-check` and `make test-lowest` rely on; they themselves install torch, and take long."""

import sys
import tomllib
from pathlib import Path

import pytest

from .check import NEEDS, SILENT, STEPS, wrong
from .environments import ROOT, interpreters, version_of
from .lowest import EXTRAS, SMOKE

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINE = "fdet: --track wandb: its package cannot be imported; pip install 'frozendet[wandb]'\n"


def test_every_extra_is_asked_for_or_known_to_be_silent():
    assert {*NEEDS, *SILENT} == set(PROJECT["optional-dependencies"])
    assert not SILENT & NEEDS.keys()


@pytest.mark.parametrize(
    ("status", "said", "problem"),
    [
        (2, LINE, ""),
        (1, LINE, "expected status 2, got 1"),
        (2, f"Traceback\n{LINE}", "expected one line, got 2"),
        (2, LINE.replace("[wandb]", "[ray]"), "the line does not say what to install"),
    ],
)
def test_the_answer_to_a_missing_extra_is_one_line_that_names_it(status, said, problem):
    assert wrong("wandb", status, said) == problem


def test_interpreters_are_supported_ones_the_oldest_first():
    versions = [version_of(python) for python in interpreters()]
    assert versions == sorted(versions) and len(versions) in (1, 2)
    assert versions[0] <= sys.version_info[:3] <= versions[-1]
    assert PROJECT["requires-python"] == ">=3.11" and versions[0] >= (3, 11)


def test_what_does_not_start_is_no_interpreter(tmp_path):
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    assert version_of(path) == ()


def test_what_the_oldest_releases_are_tested_with_is_there():
    assert not [path for path in SMOKE if not (ROOT / path).exists()]
    assert set(EXTRAS) <= set(PROJECT["optional-dependencies"])


def test_the_steps_are_commands_of_fdet():
    from typer.main import get_command

    from fdet.pipeline.cli import app

    known = set(get_command(app).commands) | {"--version"}
    assert {command.split()[1] for command in (*STEPS, *NEEDS.values())} <= known


def test_the_image_gets_all_that_the_wheel_is_built_from():
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    packages = {name.split(".")[1] for name in PROJECT_PACKAGES if "." in name}
    assert packages | {"pyproject.toml", "README.md", "LICENSE", "py.typed", "__init__.py"} <= kept
    assert {path.name for path in Path(ROOT).glob("*.py")} <= kept


PROJECT_PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
    "packages"
]
