"""The figures of a run and their spread over runs, taken from the runs' histories without measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from .history import Evaluation, Steps, evaluations_of, steps_of


@dataclass(frozen=True, slots=True)
class RunFigures:
    """The figures of one run.

    seconds: the time of its steps and of waiting for their data, without evaluations, checkpoints and the
    program's start. images: how many samples it was trained on. waiting: the share of the seconds without
    data. learning_curve: (seconds so far, AP) of each evaluation. process_mb, device_mb: peaks, MiB.
    """

    source: str
    seed: int
    best_ap: float
    last_ap: float
    epochs: int
    seconds: float
    images: float
    waiting: float
    process_mb: float
    device_mb: float | None
    learning_curve: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, source: str, seed: int, history: Sequence[Steps | Evaluation]) -> RunFigures:
        """Return the figures of a run that was trained; both APs are 0 where it was never evaluated."""
        seconds, curve = 0.0, []
        for entry in history:
            if isinstance(entry, Steps):
                seconds += entry.seconds
            else:
                curve.append((seconds, entry.ap))
        steps = steps_of(history)
        device = [of.device_memory_mb for of in steps if of.device_memory_mb is not None]
        aps = [evaluation.ap for evaluation in evaluations_of(history)]
        waited = sum(of.waiting * of.seconds for of in steps)
        return cls(
            source=source,
            seed=seed,
            best_ap=max(aps, default=0.0),
            last_ap=aps[-1] if aps else 0.0,
            epochs=max(entry.epoch for entry in history),
            seconds=seconds,
            images=sum(of.images_per_second * of.seconds for of in steps),
            waiting=waited / seconds if seconds else 0.0,
            process_mb=max(of.process_memory_mb for of in steps),
            device_mb=max(device) if device else None,
            learning_curve=tuple(curve),
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """The mean and the extremes of a figure over the seeds."""

    mean: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        return cls(fmean(values), min(values), max(values))

    def apart_from(self, other: Spread) -> bool:
        """Return whether every value of one lies above every value of the other."""
        return self.minimum > other.maximum or other.minimum > self.maximum
