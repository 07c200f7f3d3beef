"""The history of a run as values: the lines of its metrics.jsonl, and whether it is finished."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cache.errors import CorruptCache
from . import metrics_log
from .info import RunInfo
from .position import BEST, LAST, read_position


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps between two lines of the log.

    step, epoch: those reached, counted from 1. loss, losses: the mean of their sum and their means by name;
    None and empty where no step had any.
    seconds: the time of the steps and of waiting for their data. waiting: the share of it without data.
    process_memory_mb, device_memory_mb: peaks, MiB; None on a CPU. diverged: the loss as text where it was
    not finite, with which a run ends. lr: the learning rate of the last of the steps, None where an older
    fdet did not log it.
    """

    step: int
    epoch: int
    loss: float | None
    losses: Mapping[str, float]
    seconds: float
    images_per_second: float
    waiting: float
    process_memory_mb: float
    device_memory_mb: float | None
    diverged: str = ""
    lr: float | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation after `epoch` epochs and `step` steps. metrics: as Metrics.to_json gives them."""

    step: int
    epoch: int
    metrics: Mapping[str, Any]

    @property
    def ap(self) -> float:
        """COCO's AP, 0 where it is not defined."""
        return self.metrics["ap"] or 0.0


History = list[Steps | Evaluation]


def read_history(run: Path) -> History:
    """Return what a run logged, in that order; nothing where it has not begun.

    Raises CorruptCache for a line that fdet did not write, StorageError.
    """
    try:
        return [_value(line) for line in metrics_log.read(run)]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CorruptCache(
            f"{run / metrics_log.NAME}: a line was not written by fdet ({error!r})"
        ) from error


def steps_of(history: Iterable[Steps | Evaluation]) -> list[Steps]:
    """Return the steps alone."""
    return [entry for entry in history if isinstance(entry, Steps)]


def evaluations_of(history: Iterable[Steps | Evaluation]) -> list[Evaluation]:
    """Return the evaluations alone."""
    return [entry for entry in history if isinstance(entry, Evaluation)]


def evaluation_after(history: Iterable[Steps | Evaluation], epoch: int) -> Evaluation | None:
    """Return the evaluation after an epoch, None where there is none."""
    return next((each for each in evaluations_of(history) if each.epoch == epoch), None)


def is_finished(run: Path) -> bool:
    """Return whether a run has done all of its epochs.

    Raises CorruptCache, InputError for a checkpoint that is damaged or belongs to another run.
    """
    last = run / LAST
    return last.is_file() and read_position(last, RunInfo.read(run)).finished


def has_ended(run: Path, info: RunInfo, history: History) -> bool:
    """Return whether a run came to its end: by its checkpoint, or where that is missing, by its log.

    Raises CorruptCache for a checkpoint that is damaged or belongs to another run.
    """
    last = run / LAST
    if os.path.lexists(last):
        return read_position(last, info).finished
    evaluations, train = evaluations_of(history), info.config.train
    if not evaluations:
        return (run / BEST).is_file()  # They are kept at the end where nothing is evaluated.
    aps = [evaluation.ap for evaluation in evaluations]
    stale = len(aps) - 1 - aps.index(max(aps))
    return evaluations[-1].epoch == train.epochs or 0 < train.patience <= stale


def _value(line: Mapping[str, Any]) -> Steps | Evaluation:
    if line["kind"] == "eval":
        metrics = line["metrics"]
        numbers = metrics["ap"] is None or isinstance(metrics["ap"], int | float)
        if not numbers or not isinstance(metrics.get("per_class", {}), dict):
            raise TypeError("metrics: expected an AP and those of the classes")
        return Evaluation(line["step"], line["epoch"], metrics)
    losses, loss = line.get("losses", {}), line.get("loss", 0.0)
    if not isinstance(loss, int | float) or not all(
        isinstance(loss, int | float) for loss in losses.values()
    ):
        raise TypeError("losses: expected numbers")
    if not isinstance(line.get("diverged", ""), str):
        raise TypeError("diverged: expected a text")
    return Steps(
        line["step"],
        line["epoch"],
        line.get("loss"),
        losses,
        line["seconds"],
        line["images_per_second"],
        line["waiting"],
        line["process_memory_mb"],
        line.get("device_memory_mb"),
        line.get("diverged", ""),
        line.get("lr"),
    )
