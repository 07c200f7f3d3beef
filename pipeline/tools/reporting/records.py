"""Run directories read for comparison. A run that cannot be read is a record too, which says why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch

from ....cache.errors import FdetError
from ...evaluation.coco import FIGURES, GROUPS
from ...evaluation.errors import KINDS
from ...runs.advice.rules import Advice
from ...runs.figures import RunFigures
from ...runs.history import History, evaluations_of, has_ended, read_history, steps_of
from ...runs.info import RunInfo
from ...runs.names import unique_names
from ...runs.position import LAST, count_trained
from ...sources.kinds import SOURCES

State = Literal["finished", "unfinished", "unreadable"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """The number of parameters that a run trains, and of all in its detector and backbone together."""

    trained: int
    total: int

    @property
    def share(self) -> float:
        return self.trained / self.total


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a learning curve, after an epoch.

    seconds: the time of all steps so far. ap: None where the epoch was not evaluated. loss: the mean loss of
    the epoch's steps, None where none is logged.
    """

    epoch: int
    seconds: float
    ap: float | None
    loss: float | None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a report.

    name: a name that no other run of the report has. note: why the run is not finished or has no evaluation.
    figures: the numbers of RunFigures, and COCO's and those of groups of classes at the best evaluation, by
    name. per_class: the AP of that evaluation by class. errors: the AP50 that would be gained without errors
    of a kind, where an evaluation has counted them. scores: what that evaluation says of its scores, as
    `score_figures_of` returns it. learning_curve: its points, one per epoch. advice: what
    to do next.
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
    scores: Mapping[str, Any] = field(default_factory=dict)
    learning_curve: tuple[Point, ...] = ()
    advice: tuple[Advice, ...] = ()

    @property
    def finished(self) -> bool:
        return self.state == "finished"

    @property
    def seed(self) -> int | None:
        return None if self.info is None else self.info.config.train.seed


def read_records(runs: Sequence[Path]) -> list[RunRecord]:
    """Return a record for each run, in their order."""
    return [_record(run, name) for run, name in zip(runs, unique_names(runs), strict=True)]


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
        note = f"metrics.jsonl: a line was not written by fdet ({error!r})"
        return RunRecord(run, name, "unreadable", note, info)


def _with_metrics(run: Path, name: str, info: RunInfo) -> RunRecord:
    history = read_history(run)
    evaluations, steps = evaluations_of(history), steps_of(history)
    state, note = _state(run, info, history)
    figures: dict[str, float | None] = {}
    per_class: dict[str, float | None] = {}
    if steps:
        figures |= _costs(history)
    if steps and evaluations:
        best = max(evaluations, key=lambda evaluation: evaluation.ap)
        figures |= {"best_epoch": best.epoch, "last_ap": evaluations[-1].metrics["ap"]}
        figures |= {figure: _finite(best.metrics[figure]) for figure in FIGURES}
        figures |= {figure: _finite(best.metrics.get(figure)) for figure in GROUPS}
        figures["mask_ap"] = _finite((best.metrics.get("masks") or {}).get("ap"))
        per_class = {c: _finite(ap) for c, ap in best.metrics["per_class"].items()}
    elif state == "finished":
        note = "never evaluated: it had no --val" if history else "metrics.jsonl is missing"
    return RunRecord(
        run,
        name,
        state,
        note,
        info,
        _parameters(run, info),
        figures,
        per_class,
        learning_curve=tuple(_learning_curve(history)),
    )


def _state(run: Path, info: RunInfo, history: History) -> tuple[State, str]:
    if has_ended(run, info, history):
        return "finished", ""
    steps, epochs = steps_of(history), info.config.train.epochs
    reached = steps[-1].epoch if steps else 0
    if steps and steps[-1].diverged:
        loss, step = steps[-1].diverged, steps[-1].step
        return (
            "unfinished",
            f"diverged in epoch {reached} of {epochs}: its loss was {loss} at step {step}",
        )
    resumed = (
        "--resume continues it"
        if (run / LAST).is_file()
        else f"it has no {LAST}, and --resume begins it once more"
    )
    return "unfinished", f"in epoch {reached} of {epochs}; {resumed}"


def _costs(history: History) -> dict[str, float | None]:
    """Return the costs that RunFigures derives from a training, also without any evaluation."""
    run = RunFigures.of("", 0, history)
    return {
        "epochs": run.epochs,
        "steps": history[-1].step,
        "seconds": run.seconds,
        "images_per_second": run.images / run.seconds if run.seconds else None,
        "waiting": run.waiting,
        "process_mb": run.process_mb,
        "device_mb": run.device_mb,
    }


def _learning_curve(history: History) -> Iterator[Point]:
    """Yield a point for each epoch."""
    seconds = 0.0
    by_epoch: dict[int, History] = {}
    for entry in history:
        by_epoch.setdefault(entry.epoch, []).append(entry)
    for epoch, of_epoch in sorted(by_epoch.items()):
        steps = steps_of(of_epoch)
        seconds += sum(of.seconds for of in steps)
        aps = [evaluation.metrics["ap"] for evaluation in evaluations_of(of_epoch)]
        losses = [loss for of in steps if (loss := _finite(of.loss)) is not None]
        loss = fmean(losses) if losses else None
        yield Point(epoch, seconds, _finite(aps[-1]) if aps else None, loss)


def _finite(value: float | None) -> float | None:
    """Return a number, or None where it is not finite, as a loss that overflowed is not."""
    return None if value is None or not math.isfinite(value) else float(value)


def _parameters(run: Path, info: RunInfo) -> Parameters | None:
    with torch.device("meta"):
        detector = info.fresh_detector()
    above, own = detector.all_parameters, detector.trained_parameters
    total = info.total_parameters(above, 0)
    if info.stage_2:
        state = run / LAST
        return Parameters(count_trained(state, info), total) if state.is_file() else None
    if not info.own_backbone and info.tail is None:
        return Parameters(own, total)
    if info.trains_backbone and (SOURCES[info.source].fresh or not info.config.backbone.train_from):
        return Parameters(total, total)
    state = run / LAST
    trained = count_trained(state, info) if state.is_file() else own
    adapters = trained - own if info.config.backbone.adapters else 0
    return Parameters(trained, info.total_parameters(above, adapters))


def errors_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the AP50 that each kind of error costs, as `fdet evaluate` wrote it; {} where it wrote none."""
    gains = (metrics.get("errors") or {}).get("gains", {})
    return {kind: float(gains[kind]) for kind in KINDS if kind in gains}
