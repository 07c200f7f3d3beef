"""The road of a user, walked once: each command in a pseudo-terminal, with what it printed."""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .pieces import make
from .terminal import Shown, Terminal

PLAN = """
[base]
train = {epochs = 1}
neck = {channels = 16, max_level = 5}
[axes]
"head.name" = ["tal", "fcos"]
"""
BACKBONE = "--backbone test_efficientnet --weights random --size 96 --workers 0 --threads 1"
SETTINGS = "--set neck.channels=32 --set neck.max_level=5 --set train.eval_every=2"


@dataclass
class Road:
    """What was printed on the road, by the name of the step."""

    folder: Path
    terminal: Terminal
    steps: dict[str, Shown] = field(default_factory=dict)

    def walk(self, step: str, command: str, interrupt: str = "") -> Shown:
        shown = self.terminal.run(*shlex.split(command), interrupt=interrupt)
        self.steps[step] = shown
        return shown

    def __getitem__(self, step: str) -> Shown:
        return self.steps[step]


def command_in(row: str) -> str:
    """The command that a row names between backticks."""
    found = re.search(r"`(fdet [^`]+)`", row)
    assert found, f"no command in {row!r}"
    return found[1]


@pytest.fixture(scope="module")
def road(warm, tmp_path_factory) -> Road:
    folder = tmp_path_factory.mktemp("road")
    make(folder, {"train": 32, "val": 12, "new": 30})
    (folder / "plan.toml").write_text(PLAN)
    road = Road(folder, Terminal(folder, warm.fdet.parent))
    walk = road.walk
    walk("check", "fdet dataset check train.json val.json")
    walk("extract", f"fdet extract train.json --out train.fdet {BACKBONE}")
    walk("extract val", f"fdet extract val.json --out val.fdet --calibration train.fdet {BACKBONE}")

    train = (
        f"fdet train-heads train.fdet --val val.fdet --out runs/a {SETTINGS} --set train.epochs=4"
    )
    walk("train", train, interrupt="epoch 2: AP")
    walk("resume", command_in(road["train"].row("fdet: interrupted")))
    walk("resume again", "fdet train-heads --resume runs/a")
    walk("extend", "fdet train-heads --resume runs/a --set train.epochs=6")

    walk("evaluate", command_in(road["extend"].rows[-1]))
    walk("ablate", "fdet ablate plan.toml --cache train.fdet --val val.fdet --out trials")
    other = next((folder / "trials" / "runs").iterdir()).relative_to(folder)
    walk("compare", f"fdet evaluate runs/a val.fdet --compare {other}")

    predict = "fdet predict runs/a new/ --out found/ --threshold auto"
    walk("predict", predict, interrupt=r"predict: [1-9]\d*/30")
    walk("predict on", predict)
    walk("predict again", predict)
    forms = "--format yolo --pictures png --save-crops --threshold 0.1"
    walk("forms", f"fdet predict runs/a new/board-000.jpg --out forms/ {forms}")

    walk("audit", "fdet audit runs/a train.fdet --out audit --folds 2 --images train --above 0.1")
    walk("report trials", command_in(road["ablate"].rows[-1]))
    walk("report", "fdet report trials/runs")
    walk("watch", "fdet watch runs --once")
    walk("info", "fdet cache info train.fdet")
    walk("info json", "fdet cache info train.fdet --json")
    walk("presets", "fdet presets")
    for section in ("train", "neck", "head"):
        walk(f"settings {section}", f"fdet settings {section}")
    return road
