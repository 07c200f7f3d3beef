"""Figures of runs and of sources, as metrics.jsonl has them; nothing is measured here."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from ...runs.figures import RunFigures, Spread


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """One source over its seeds. seconds: the mean. extraction: seconds that come on top, once for
    all runs that share the cache; 0 but for "cached". disk_bytes: of the caches that it reads.
    """

    source: str
    runs: tuple[RunFigures, ...]
    extraction: float
    disk_bytes: int

    @property
    def best_ap(self) -> Spread:
        return Spread.of([run.best_ap for run in self.runs])

    @property
    def last_ap(self) -> Spread:
        return Spread.of([run.last_ap for run in self.runs])

    @property
    def seconds(self) -> float:
        return fmean(run.seconds for run in self.runs)

    def total_seconds(self, runs: int) -> float:
        """Of one run, with its share of the extraction where so many runs share it."""
        return self.seconds + self.extraction / runs

    @property
    def images_per_second(self) -> float:
        return sum(run.images for run in self.runs) / sum(run.seconds for run in self.runs)

    @property
    def process_mb(self) -> float:
        """The largest of all runs."""
        return max(run.process_mb for run in self.runs)

    @property
    def device_mb(self) -> float | None:
        """The largest of all runs; None on a CPU."""
        known = [run.device_mb for run in self.runs if run.device_mb is not None]
        return max(known) if known else None
