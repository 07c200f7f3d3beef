"""Run directories, read for comparison: a run that cannot be read is a record too, and says why."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch

from ....cache.errors import FdetError, InputError, shown
from ...evaluation.coco import FIGURES, GROUPS
from ...evaluation.errors import KINDS
from ...runs.checkpoint import LAST, count_trained, read_position
from ...runs.figures import RunFigures
from ...runs.info import SCRATCH, RunInfo
from ...runs.metrics_log import read as read_metrics

log = logging.getLogger(__name__)

State = Literal["finished", "unfinished", "unreadable"]
# Where runs are looked for: the folder itself, and so many levels below it.
DEPTH = 2


@dataclass(frozen=True, slots=True)
class Parameters:
    """How many a run trains, of how many in its detector and backbone together."""

    trained: int
    total: int

    @property
    def share(self) -> float:
        return self.trained / self.total


@dataclass(frozen=True, slots=True)
class Point:
    """After an epoch. seconds: of its steps so far; loss: their mean, None where no step is logged."""

    epoch: int
    seconds: float
    ap: float | None
    loss: float | None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. name: told apart from all others of the report. note: why it is not finished.

    figures: RunFigures' numbers, and COCO's and those of groups of classes, of the best evaluation, by
    name; per_class: its AP by class; errors: AP50 gained without errors of a kind, where an evaluation has
    counted them.
    """

    folder: Path
    name: str
    state: State
    note: str = ""
    info: RunInfo | None = None
    parameters: Parameters | None = None
    figures: Mapping[str, float | None] = field(default_factory=dict)
    per_class: Mapping[str, float | None] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    course: tuple[Point, ...] = ()

    @property
    def finished(self) -> bool:
        return self.state == "finished"

    @property
    def seed(self) -> int | None:
        return None if self.info is None else self.info.config.train.seed


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Every folder with a run.json: a path itself, or up to two levels below it; each once.

    Raises InputError where a path holds none.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise InputError(f"{path}: no such folder; give runs, or folders that hold some")
        runs = list(_below(path, DEPTH))
        if not runs:
            raise InputError(
                f"{path}: no run in it, nor in folders up to {DEPTH} levels below (a run has a "
                "run.json); make one with `fdet train-heads`"
            )
        for run in runs:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        taken = (folder / "run.json").exists()
        inside = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    except OSError as error:
        log.warning("%s: %s; it is left out", folder, error.strerror)
        return
    if taken:
        yield folder
    elif depth:
        for inner in sorted(inside, key=_natural):
            yield from _below(inner, depth - 1)


def _natural(path: Path) -> tuple[str, ...]:
    """run-2 before run-10."""
    parts = path.name.replace("-", " ").split()
    return tuple(part.zfill(12) if part.isdigit() else part for part in parts)


def read_records(runs: Sequence[Path]) -> list[RunRecord]:
    """A record a run, in their order."""
    return [_record(run, name) for run, name in zip(runs, _names(runs), strict=True)]


def _names(runs: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell all of them apart."""
    parts = [run.resolve().parts for run in runs]
    length = 1
    while len({p[-length:] for p in parts}) < len(parts):
        length += 1
    return [shown("/".join(p[-length:])) for p in parts]


def _record(run: Path, name: str) -> RunRecord:
    try:
        info = RunInfo.read(run)
    except FdetError as error:
        return RunRecord(run, name, "unreadable", str(error))
    try:
        return _with_metrics(run, name, info)
    except FdetError as error:
        return RunRecord(run, name, "unreadable", str(error), info)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        note = f"metrics.jsonl: a line is not one of fdet's ({error!r})"
        return RunRecord(run, name, "unreadable", note, info)


def _with_metrics(run: Path, name: str, info: RunInfo) -> RunRecord:
    lines = read_metrics(run)
    evals = [line for line in lines if line["kind"] == "eval"]
    trained = [line for line in lines if line["kind"] == "train"]
    state, note = _state(run, info, trained)
    figures: dict[str, float | None] = {}
    per_class: dict[str, float | None] = {}
    if trained:
        figures |= _costs(lines)
    if trained and evals:
        best = max(evals, key=lambda line: line["metrics"]["ap"] or 0.0)
        figures |= {"best_epoch": best["epoch"], "last_ap": evals[-1]["metrics"]["ap"]}
        figures |= {figure: _number(best["metrics"][figure]) for figure in FIGURES}
        figures |= {figure: _number(best["metrics"].get(figure)) for figure in GROUPS}
        figures["mask_ap"] = _number((best["metrics"].get("masks") or {}).get("ap"))
        per_class = {c: _number(ap) for c, ap in best["metrics"]["per_class"].items()}
    elif state == "finished":
        note = "never evaluated: it had no --val"
    return RunRecord(
        run,
        name,
        state,
        note,
        info,
        _parameters(run, info),
        figures,
        per_class,
        course=tuple(_course(lines)),
    )


def _state(run: Path, info: RunInfo, trained: Sequence[Mapping[str, Any]]) -> tuple[State, str]:
    epochs = info.config.train.epochs
    try:
        if read_position(run / LAST, info).finished:
            return "finished", ""
    except InputError:  # no checkpoint yet
        pass
    reached = trained[-1]["epoch"] if trained else 0
    return "unfinished", f"in epoch {reached} of {epochs}; --resume goes on with it"


def _costs(lines: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """What RunFigures makes of the lines of a training, also of one that is not evaluated."""
    nothing = {"kind": "eval", "epoch": 0, "metrics": {"ap": None}}
    run = RunFigures.of("", 0, [*lines, nothing])
    return {
        "epochs": run.epochs,
        "steps": lines[-1]["step"],
        "seconds": run.seconds,
        "images_per_second": run.images / run.seconds if run.seconds else None,
        "waiting": run.waiting,
        "process_mb": run.process_mb,
        "device_mb": run.device_mb,
    }


def _course(lines: Sequence[Mapping[str, Any]]) -> Iterator[Point]:
    """A point an epoch."""
    seconds = 0.0
    by_epoch: dict[int, list[Mapping[str, Any]]] = {}
    for line in lines:
        by_epoch.setdefault(line["epoch"], []).append(line)
    for epoch, of_epoch in sorted(by_epoch.items()):
        steps = [line for line in of_epoch if line["kind"] == "train"]
        seconds += sum(line["seconds"] for line in steps)
        aps = [line["metrics"]["ap"] for line in of_epoch if line["kind"] == "eval"]
        losses = [value for line in steps if (value := _number(line["loss"])) is not None]
        loss = fmean(losses) if losses else None
        yield Point(epoch, seconds, _number(aps[-1]) if aps else None, loss)


def _number(value: float | None) -> float | None:
    """A loss that overflowed is no number."""
    return None if value is None or not math.isfinite(value) else float(value)


def _parameters(run: Path, info: RunInfo) -> Parameters | None:
    with torch.device("meta"):
        above = info.fresh_detector().trained_parameters
    total = above + info.backbone_parameters
    if info.stage_2:
        state = run / LAST
        return Parameters(count_trained(state, info), total) if state.is_file() else None
    if not info.own_backbone:
        return Parameters(above, total)
    if info.trains_backbone and (info.source == SCRATCH or not info.config.backbone.train_from):
        return Parameters(total, total)
    state = run / LAST
    trained = count_trained(state, info) if state.is_file() else above
    return Parameters(trained, total if info.trains_backbone else total + trained - above)


def errors_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """AP50 that each kind of error costs, of what `fdet evaluate` wrote; {} where it wrote none."""
    gains = (metrics.get("errors") or {}).get("gains", {})
    return {kind: float(gains[kind]) for kind in KINDS if kind in gains}
