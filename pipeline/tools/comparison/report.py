"""compare.json and compare.md: the table of a comparison, and the sentences below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ....cache.disk.sizes import megabytes
from ....cache.wording import counted
from ...runs.figures import Spread
from ...runs.points import points
from ...sources.kinds import SOURCES
from .extraction import Extraction
from .figures import SourceFigures
from .findings import Finding, Verdict, findings

SHARED_BY = (1, 3, 10)
# Total times are compared with those of the first of these sources that was trained.
_REFERENCES = tuple(name for name, kind in SOURCES.items() if kind.live)
_HEADINGS: dict[Verdict, str] = {
    "loses": "Where {} loses",
    "gains": "Where {} gains",
    "even": "Where neither does",
}


@dataclass(frozen=True, slots=True)
class Report:
    """The results of a comparison.

    extraction: the cost of the extraction, or None where nothing is trained on the cache. planned: the number
    of runs that the whole comparison has.
    """

    sources: tuple[SourceFigures, ...]
    extraction: Extraction | None
    planned: int

    @property
    def reference(self) -> SourceFigures | None:
        """The source that total times are compared with, or None."""
        by_name = {source.source: source for source in self.sources}
        return next((by_name[name] for name in _REFERENCES if name in by_name), None)

    @property
    def findings(self) -> list[Finding]:
        return findings(self.sources)

    def to_json(self) -> dict[str, Any]:
        """Return all figures of every run and of every source."""
        return {
            "runs_planned": self.planned,
            "extraction": asdict(self.extraction) if self.extraction else None,
            "sources": {source.source: self._of_source(source) for source in self.sources},
            "runs": [asdict(run) for source in self.sources for run in source.runs],
            "findings": [asdict(finding) for finding in self.findings],
        }

    def _of_source(self, source: SourceFigures) -> dict[str, Any]:
        reference = self.reference
        totals = {str(count): source.total_seconds(count) for count in SHARED_BY}
        return {
            "seeds": [run.seed for run in source.runs],
            "best_ap": asdict(source.best_ap),
            "last_ap": asdict(source.last_ap),
            "seconds": source.seconds,
            "total_seconds": totals,
            "held_against": reference.source if reference else None,
            "ratios": {n: _ratio(total, reference) for n, total in totals.items()},
            "images_per_second": source.images_per_second,
            "process_mb": source.process_mb,
            "device_mb": source.device_mb,
            "disk_bytes": source.disk_bytes,
        }

    def to_markdown(self) -> str:
        """Return the table, the notes on its columns, and the findings."""
        blocks = [self.table(), self._notes()]
        found = self.findings
        for source in dict.fromkeys(each.source for each in found):
            for verdict, heading in _HEADINGS.items():
                of = [each for each in found if (each.source, each.verdict) == (source, verdict)]
                if of:
                    texts = [f"- {each.text}" for each in of]
                    blocks.append("\n".join([f"**{heading.format(source)}**", "", *texts]))
        return "\n\n".join(blocks) + "\n"

    def table(self) -> str:
        """Return the table, with one row per source."""
        head = [
            *("source", "AP, best", "AP, last epoch", "training"),
            *(f"total, {counted(n, 'run')}" for n in SHARED_BY),
            *("images/s", "process", "device", "disk"),
        ]
        return _markdown_table([head, *(self._row(source) for source in self.sources)])

    def _row(self, source: SourceFigures) -> list[str]:
        device = source.device_mb
        return [
            source.source,
            _spread(source.best_ap, len(source.runs)),
            _spread(source.last_ap, len(source.runs)),
            f"{source.seconds:.1f} s",
            *(self._total(source.total_seconds(count)) for count in SHARED_BY),
            f"{source.images_per_second:.1f}",
            f"{source.process_mb:.0f} MiB",
            "—" if device is None else f"{device:.0f} MiB",
            megabytes(source.disk_bytes),
        ]

    def _total(self, seconds: float) -> str:
        ratio = _ratio(seconds, self.reference)
        return f"{seconds:.1f} s" + (f" ({ratio:.2f} x)" if ratio is not None else "")

    def _notes(self) -> str:
        runs = [run for source in self.sources for run in source.runs]
        seeds = sorted({run.seed for run in runs})
        lines = [f"Seeds: {', '.join(map(str, seeds))}. AP is the mean over them (min..max)."]
        if len(runs) < self.planned:
            lines = [f"Not finished: {len(runs)} of {self.planned} runs.", *lines]
        lines.append(
            "Seconds are those of the steps and of waiting for their data, the mean over the seeds; "
            "evaluations, checkpoints and the program's start are not among them."
        )
        if self.extraction is not None:
            lines.append(
                f"Extraction of the training cache: {self.extraction.seconds:.1f} s "
                f"({self.extraction.origin}); the totals add it, shared by 1, 3 or 10 runs."
            )
        if self.reference is not None:
            lines.append(f"x: relative to {self.reference.source}.")
        lines.append(
            "Process and device: the largest peak of all runs; the processes that decode images are "
            "not included. Disk: of the caches whose maps are read."
        )
        return " ".join(lines)


def _ratio(seconds: float, reference: SourceFigures | None) -> float | None:
    return seconds / reference.seconds if reference is not None else None


def _spread(values: Spread, count: int) -> str:
    if count == 1:
        return points(values.mean)
    return f"{points(values.mean)} ({points(values.minimum)}..{points(values.maximum)})"


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, padded so that it also reads as plain text; numbers align to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = [":" + "-" * (w - 1) if k == 0 else "-" * (w - 1) + ":" for k, w in enumerate(widths)]
    lines = [
        [
            cell.ljust(w) if k == 0 else cell.rjust(w)
            for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def amortised(source: SourceFigures) -> bool:
    """Return whether a source's total time depends on how many runs share the cache."""
    return source.extraction > 0
