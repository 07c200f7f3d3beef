"""The heads of the folds, each trained by `fdet train-heads` in a process of its own.

A fold that is finished is left alone, and one that was interrupted goes on.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from ....cache.disk.publish import make_folder, publish_bytes
from ....cache.errors import FdetError, InputError
from ...dataset.annotations import Annotations, joined_annotations
from ...dataset.writing.coco import coco_of
from ...machines.launching import Started, children, signal_of
from ...machines.progress import ProgressLine, progress_line
from ...runs.config import RunConfig
from ...runs.history import is_finished, read_history
from ...training.threads import threads_of_run
from .folds import Fold
from .options import AuditOptions
from .paths import SETTINGS, FoldPaths

log = logging.getLogger(__name__)

_REFRESH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Training:
    """The trainings of an audit.

    source: the source of the pyramids. steps: the number of steps of each fold, by its number.
    """

    cache: Path
    out: Path
    options: AuditOptions
    source: str
    folds: Sequence[Fold]
    steps: Mapping[int, int]

    def paths(self, fold: Fold) -> FoldPaths:
        """Return the paths of a fold."""
        return FoldPaths.of(self.out, fold.number)

    def done(self, fold: Fold) -> int:
        """Return the number of steps that a fold has done."""
        run = self.paths(fold).run
        if _finished(run):
            return self.steps[fold.number]
        with suppress(FdetError, OSError):  # A line may be half written.
            if history := read_history(run):
                return history[-1].step
        return 0


def write_inputs(out: Path, config: RunConfig, folds: Sequence[Fold], known: Annotations) -> None:
    """Write what the trainings read: the settings, and the annotations of each fold. Raises StorageError."""
    make_folder(out)
    publish_bytes(out / SETTINGS, config.to_toml().encode(), existing="replace")
    for fold in folds:
        paths = FoldPaths.of(out, fold.number)
        make_folder(paths.folder)
        part = joined_annotations([(known, frozenset(fold.trained))])
        publish_bytes(paths.annotations, json.dumps(coco_of(part)).encode(), existing="replace")


def train_folds(training: Training) -> None:
    """Train the heads that are not finished.

    Raises KeyboardInterrupt once those that run have saved, InputError for one that failed.
    """
    waiting = deque(fold for fold in training.folds if not _finished(training.paths(fold).run))
    if not waiting:
        return
    running: dict[Started, tuple[Fold, int]] = {}
    free = list(range(training.options.jobs))[::-1]
    total, begun = sum(training.steps.values()), _steps_done(training)
    with children() as launcher, progress_line("audit", total, begun) as progress:
        refreshed = time.monotonic()
        while True:
            while waiting and free and not launcher.stop_requests:
                slot, fold = free.pop(), waiting.popleft()
                words, paths = _words(training, fold, slot), training.paths(fold)
                running[launcher.start(words, paths.log)] = fold, slot
            if not running:
                break
            for process in launcher.ended():
                fold, slot = running.pop(process)
                free.append(slot)
                if not launcher.stop_requests:
                    _refuse_failed(training, fold, process)
            if time.monotonic() - refreshed > _REFRESH_SECONDS:
                refreshed = time.monotonic()
                _refresh(training, progress, [fold.number for fold, _ in running.values()])
    if launcher.stop_requests:
        raise KeyboardInterrupt


def _words(training: Training, fold: Fold, slot: int) -> list[str]:
    """Return the command that trains a fold, or goes on with it."""
    options, paths = training.options, training.paths(fold)
    threads = threads_of_run(paths.run) or _threads(options)
    words = [
        *("fdet", "train-heads", str(training.cache), "--out", str(paths.run)),
        *("--config", str(training.out / SETTINGS), "--source", training.source),
        *("--annotations", str(paths.annotations), "--format", "coco"),
        *("--device", _device(options, slot), "--threads", str(threads)),
        *("--resident", options.resident if options.jobs == 1 else "none"),
    ]
    if options.second is not None:
        words += ["--with", str(options.second)]
    if options.weights is not None:
        words += ["--weights", options.weights]
    if (paths.run / "run.json").is_file():
        words.append("--resume")
    log.info("fold %d of %d: %s", fold.number, len(training.folds), paths.log)
    return words


def _threads(options: AuditOptions) -> int:
    return max(1, (options.threads or torch.get_num_threads()) // options.jobs)


def _device(options: AuditOptions, slot: int) -> str:
    """Return the device of a slot: an accelerator of its own, if there are several and none is named."""
    count = torch.cuda.device_count() if options.device in ("auto", "cuda") else 0
    return f"cuda:{slot % count}" if count > 1 else options.device


def _finished(run: Path) -> bool:
    try:
        return is_finished(run)
    except FdetError:  # The training itself says what is wrong.
        return False


def _refuse_failed(training: Training, fold: Fold, process: Started) -> None:
    """Raise InputError where a training ended and its run is not finished."""
    paths, status = training.paths(fold), process.returncode or 0
    if _finished(paths.run):
        return
    if status < 0:
        why = f"its process was ended by {signal_of(status)}"
    else:
        lines = [line for line in paths.log.read_text(errors="replace").split("\n") if line.strip()]
        why = "".join(lines[-1:])[:500] or f"its process ended with status {status}"
    raise InputError(
        f"fold {fold.number}: {why} (log: {paths.log}); folds that are finished are kept"
    )


def _steps_done(training: Training) -> int:
    return sum(map(training.done, training.folds))


def _refresh(training: Training, progress: ProgressLine, running: Sequence[int]) -> None:
    numbers = " and ".join(map(str, sorted(running)))
    which = f"fold {numbers} of {len(training.folds)}" if running else ""
    progress.advance(max(0, _steps_done(training) - progress.done))
    progress.note(", ".join(filter(None, [which, progress.speed("steps/s")])))
