"""What a page shows of a run: its state, a few figures and three curves, read from its folder.

A folder may be anyone's. run.json, the log and the checkpoint are read within the bounds of the modules that
know them; whatever is wrong with one becomes the state of its run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ....cache.errors import FdetError
from ...runs import metrics_log
from ...runs.history import History, Steps, evaluations_of, has_ended, read_history, steps_of
from ...runs.info import RunInfo
from ...runs.position import LAST

State = Literal["finished", "training", "unfinished", "diverged", "unreadable"]
Curve = tuple[tuple[int, float], ...]

# The maximum number of points of a curve, and of the loss, whose noise the means of neighbours take away.
POINTS, LOSS_POINTS = 240, 80
# s: a run whose log has been still for longer counts as unfinished; an evaluation takes its time.
STILL = 600.0
# The lines of the log that the speed is taken from.
_RECENT = 20


@dataclass(frozen=True, slots=True)
class Reading:
    """The state and the curves of a run, as far as they are known.

    note: what is wrong with it, or the loss with which it diverged. changed: when its log was last written, s
    since 1970, 0 where it has none. epochs: how many it is to have, None where that is not known. left: s of
    training that are left, None where the log does not tell. best: the epoch and AP of the best evaluation.
    losses, aps, rates: the curves over the steps, without what is not finite; AP is from 0 to 1.
    """

    folder: Path
    state: State
    note: str = ""
    changed: float = 0.0
    step: int = 0
    epoch: int = 0
    epochs: int | None = None
    seconds: float = 0.0
    left: float | None = None
    images_per_second: float | None = None
    best: tuple[int, float] | None = None
    losses: Curve = ()
    aps: Curve = ()
    rates: Curve = ()


@dataclass
class Reader:
    """Readings of runs, each taken again only where a file of the run has changed.

    clock: the present time, s since 1970.
    """

    clock: Callable[[], float]
    _kept: dict[Path, tuple[object, Reading]] = field(default_factory=dict)

    def read(self, run: Path) -> Reading:
        """Return the reading of a run."""
        names = ("run.json", metrics_log.NAME, LAST)
        now = tuple(_mark(run / name) for name in names)
        still = self.clock() - _changed(run) > STILL
        before, reading = self._kept.get(run, (None, None))
        if reading is None or before != (now, still):
            reading = _reading(run, still)
            self._kept[run] = ((now, still), reading)
        return reading


def _mark(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is written, None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _changed(run: Path) -> float:
    try:
        return (run / metrics_log.NAME).stat().st_mtime
    except OSError:
        return 0.0


def _reading(run: Path, still: bool) -> Reading:
    changed = _changed(run)
    try:
        info = RunInfo.read(run)
        history = read_history(run)
        finished = has_ended(run, info, history)
    except FdetError as error:
        return Reading(run, "unreadable", str(error), changed)
    epochs = info.config.train.epochs
    return _of_history(
        run, history, changed, epochs if isinstance(epochs, int) else None, finished, still
    )


def _of_history(
    run: Path, history: History, changed: float, epochs: int | None, finished: bool, still: bool
) -> Reading:
    steps, evaluations = steps_of(history), evaluations_of(history)
    state: State = "finished" if finished else "unfinished" if still else "training"
    note = ""
    if steps and steps[-1].diverged:
        state, note = "diverged", steps[-1].diverged[:20]
    aps = [(e.step, float(e.ap)) for e in evaluations if math.isfinite(e.ap)]
    best = max(evaluations, key=lambda e: e.ap if math.isfinite(e.ap) else -1.0, default=None)
    return Reading(
        run,
        state,
        note,
        changed,
        step=history[-1].step if history else 0,
        epoch=history[-1].epoch if history else 0,
        epochs=epochs,
        seconds=sum(of.seconds for of in steps),
        left=_left(steps, epochs) if state == "training" else None,
        images_per_second=steps[-1].images_per_second if steps else None,
        best=None if best is None else (best.epoch, best.ap),
        losses=thinned(((of.step, of.loss) for of in steps), LOSS_POINTS),
        aps=thinned(aps),
        rates=thinned((of.step, of.lr) for of in steps),
    )


def _left(steps: Sequence[Steps], epochs: int | None) -> float | None:
    """Return the seconds that the remaining steps will take at the speed of the last ones.

    They follow from the number of steps in the epochs that are over, so in the first one nothing is known.
    """
    over = [of for of in steps if steps and of.epoch < steps[-1].epoch]
    if epochs is None or not over or not over[-1].epoch:
        return None
    total = epochs * over[-1].step / over[-1].epoch
    recent = steps[-_RECENT:]
    done = recent[-1].step - recent[0].step
    seconds = sum(of.seconds for of in recent[1:])
    left = max(0.0, total - steps[-1].step) * seconds / done if done > 0 else math.inf
    return left if math.isfinite(left) else None


def thinned(points: Iterable[tuple[int, float | None]], count: int = POINTS) -> Curve:
    """Return at most `count` points: means of neighbours, at the last of each; the last point stays."""
    known = [(step, float(v)) for step, v in points if v is not None and math.isfinite(v)]
    size = math.ceil(len(known) / count) or 1
    parts = [known[k : k + size] for k in range(0, len(known), size)]
    means = ((part[-1][0], sum(v / len(part) for _, v in part)) for part in parts)
    return tuple((step, mean) for step, mean in means if math.isfinite(mean))
