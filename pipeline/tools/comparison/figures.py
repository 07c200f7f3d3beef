"""The figures of sources, from those that metrics.jsonl has of their runs; nothing is measured here."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from ...runs.figures import RunFigures, Spread


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """The figures of one source over its seeds.

    extraction: the seconds that come on top, once for all runs that share the cache; 0 with a backbone in the
    loop.
    disk_bytes: the size of the caches that the source reads. seconds: the mean over the runs.
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
        """Return the seconds of one run, with its share of an extraction that `runs` runs share."""
        return self.seconds + self.extraction / runs

    @property
    def images_per_second(self) -> float:
        return sum(run.images for run in self.runs) / sum(run.seconds for run in self.runs)

    @property
    def process_mb(self) -> float:
        """The largest peak of all runs."""
        return max(run.process_mb for run in self.runs)

    @property
    def device_mb(self) -> float | None:
        """The largest peak of all runs, or None on a CPU."""
        known = [run.device_mb for run in self.runs if run.device_mb is not None]
        return max(known) if known else None
