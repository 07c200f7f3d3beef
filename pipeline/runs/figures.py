"""Figures of runs, as metrics.jsonl has them; nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run. seconds: of its steps and of waiting for their data; evaluations, checkpoints and the
    program's start are not among them. course: (seconds so far, AP) of each evaluation.
    process_mb, device_mb: peaks, MiB.
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
    course: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, source: str, seed: int, lines: Sequence[Mapping[str, Any]]) -> RunFigures:
        """From the lines of metrics.jsonl, of a run that is finished."""
        seconds = images = waited = 0.0
        course = []
        for line in lines:
            if line["kind"] == "eval":
                course.append((seconds, line["metrics"]["ap"] or 0.0))
                continue
            seconds += line["seconds"]
            images += line["images_per_second"] * line["seconds"]
            waited += line["waiting"] * line["seconds"]
        training = [line for line in lines if line["kind"] == "train"]
        device = [line["device_memory_mb"] for line in training if "device_memory_mb" in line]
        return cls(
            source=source,
            seed=seed,
            best_ap=max(ap for _, ap in course),
            last_ap=course[-1][1],
            epochs=max(line["epoch"] for line in lines),
            seconds=seconds,
            images=images,
            waiting=waited / seconds if seconds else 0.0,
            process_mb=max(line["process_memory_mb"] for line in training),
            device_mb=max(device) if device else None,
            course=tuple(course),
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """Over the seeds."""

    mean: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(fmean(values), min(values), max(values))

    def apart_from(self, other: Spread) -> bool:
        """Whether every value of one lies above every value of the other."""
        return self.least > other.most or other.least > self.most
