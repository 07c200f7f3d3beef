"""The calls that W&B gets; a module of its name stands in for it."""

import json
import sys
from types import ModuleType

import pytest

from fdet.pipeline.watching.trackers.tracker import kept_id
from fdet.pipeline.watching.trackers.wandb_tracker import WandB

from .conftest import PARAMETERS


class FakeRun:
    """Keeps what it is given, by the names that W&B's Run has."""

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self.logged: list[dict] = []
        self.metrics: list[tuple[str, str]] = []
        self.exit_code: int | None = None

    def define_metric(self, name: str, step_metric: str) -> None:
        self.metrics.append((name, step_metric))

    def log(self, values: dict) -> None:
        self.logged.append(values)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


@pytest.fixture
def opened(monkeypatch) -> list[tuple[dict, FakeRun]]:
    """(arguments of wandb.init, the run that it gave), in order."""
    for name in ("WANDB_PROJECT", "WANDB_NAME"):
        monkeypatch.delenv(name, raising=False)
    opened: list[tuple[dict, FakeRun]] = []

    def init(**arguments) -> FakeRun:
        opened.append((arguments, FakeRun(arguments["id"] or f"new-{len(opened)}")))
        return opened[-1][1]

    module = ModuleType("wandb")
    module.init = init
    module.Image = lambda image: ("image", image.size)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return opened


def test_a_new_run_has_its_folders_name_and_its_settings(opened, tmp_path):
    WandB(tmp_path, PARAMETERS, False)
    ((arguments, run),) = opened
    assert arguments["dir"] == str(tmp_path)
    assert arguments["name"] == tmp_path.name
    assert arguments["project"] == "fdet"
    assert arguments["config"] == PARAMETERS
    assert arguments["id"] is arguments["resume"] is None
    assert run.metrics == [("*", "step")]
    assert "mode" not in arguments, "that is for WANDB_MODE to say"


def test_the_users_environment_comes_first(opened, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_PROJECT", "trees")
    monkeypatch.setenv("WANDB_NAME", "second try")
    WandB(tmp_path, PARAMETERS, False)
    assert (opened[0][0]["project"], opened[0][0]["name"]) == ("trees", "second try")


def test_figures_and_pictures_carry_their_step(opened, tmp_path, png):
    tracker = WandB(tmp_path, PARAMETERS, False)
    tracker.scalars(10, {"train/loss": 1.5})
    tracker.picture(20, "pictures/17", png)
    assert opened[0][1].logged == [
        {"step": 10, "train/loss": 1.5},
        {"step": 20, "pictures/17": ("image", (30, 20))},
    ]


@pytest.mark.parametrize(("finished", "exit_code"), [(True, 0), (False, 1)])
def test_a_run_that_was_cut_short_is_told_apart(finished, exit_code, opened, tmp_path):
    WandB(tmp_path, PARAMETERS, False).close(finished)
    assert opened[0][1].exit_code == exit_code


def test_resume_goes_on_with_the_same_run(opened, tmp_path):
    WandB(tmp_path, PARAMETERS, False).close(False)
    WandB(tmp_path, PARAMETERS, True)
    assert opened[1][0]["id"] == opened[0][1].id == kept_id(tmp_path, "wandb")
    assert opened[1][0]["resume"] == "allow"


def test_a_run_that_was_not_tracked_before_becomes_a_new_one(opened, tmp_path):
    WandB(tmp_path, PARAMETERS, True)
    assert opened[0][0]["id"] is None
    assert kept_id(tmp_path, "wandb") == opened[0][1].id


def test_no_credential_reaches_a_file_or_a_call(opened, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", "s3cret")
    tracker = WandB(tmp_path, PARAMETERS, False)
    tracker.scalars(10, {"train/loss": 1.5})
    assert "s3cret" not in json.dumps([opened[0][0], opened[0][1].logged])
    files = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    assert files
    assert not any(b"s3cret" in raw for raw in files)
