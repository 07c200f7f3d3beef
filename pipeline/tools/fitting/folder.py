"""The folder of a fit: the names in it, and the steps whose products are there."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from ....cache.format.header import NAME as HEADER

DATA, TRAIN, VAL, RUN, FOUND = "data", "train.fdet", "val.fdet", "run", "found"
# The annotations that the cache for validation keeps.
VAL_ANNOTATIONS = "val.json"
# The folder with train.json and val.json, where no command can name the parts as the options do.
PARTS = "parts"
REPORT, COMMANDS = "report.html", "commands.sh"
# What is only measured, and then removed: a small cache, and two short runs on it.
PILOT_NAMES = PILOT_CACHE, PILOT_RUN, SMALL_PILOT_RUN = "pilot.fdet", "pilot", "pilot-s"
# The steps that can be interrupted and continued, with the file that each of them writes first.
EXTRACT_TRAIN, EXTRACT_VAL, TRAINING = f"extract {TRAIN}", f"extract {VAL}", "train"
SPLIT, CHECK, EVALUATION = "split", "check", "evaluate"
EVALUATION_TRAIN = f"evaluate {TRAIN}"
ANNOTATIONS, PREDICTION = "annotations", "predict"
_FIRST = {
    EXTRACT_TRAIN: Path(TRAIN, HEADER),
    EXTRACT_VAL: Path(VAL, HEADER),
    TRAINING: Path(RUN, "run.json"),
}


@dataclass(frozen=True, slots=True)
class Begun:
    """The steps that have begun.

    extraction: whether anything was extracted or trained. training: whether training has begun. unfinished:
    the folder of the step that was interrupted, None where there is none.
    """

    extraction: bool = False
    training: bool = False
    unfinished: Path | None = None

    @classmethod
    def within(cls, out: Path, done: Container[str]) -> Begun:
        """Return what has begun in the folder of a fit. done: the names of the steps that are done."""
        there = [step for step, first in _FIRST.items() if (out / first).exists()]
        unfinished = (out / _FIRST[step].parent for step in there if step not in done)
        return cls(bool(there), TRAINING in there, next(unfinished, None))
