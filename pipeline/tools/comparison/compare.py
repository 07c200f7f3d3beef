"""fdet compare: one run after the other, and after each of them the report of those that are finished."""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from ....cache.disk.publish import only_writer, publish_bytes
from ....cache.errors import IncompleteCache
from ....cache.format.header import CacheHeader
from ....cache.format.manifest import Manifest
from ...machines.duration import shown_time
from ...machines.launching import launched
from ...runs.figures import RunFigures
from ...runs.history import read_history
from ...sources.kinds import SOURCES
from .checks import check_comparison
from .extraction import Extraction, extraction_cost
from .figures import SourceFigures
from .options import CompareOptions
from .picture import draw_comparison
from .report import Report
from .runs import (
    Launch,
    Run,
    keep_conditions,
    planned,
    refuse_other_conditions,
    refuse_others,
    train,
)

log = logging.getLogger(__name__)


def compare(options: CompareOptions, launch: Launch = launched) -> Report:
    """Train every source with every seed that is not finished yet, and write the report.

    launch: a function that runs `fdet` with the given words to its end and returns its exit status. Raises
    InputError, ConfigError, what an extraction raises, and RunEnded where a run ended early.
    """
    check_comparison(options)
    for name, cache in (("cache", options.cache), ("val", options.val)):
        if Manifest.read(cache, CacheHeader.read(cache)) is None:
            raise IncompleteCache(
                f"--{name} {cache}: its extraction has not finished; `fdet extract` goes on with it"
            )
    runs = planned(options)
    refuse_others(runs, options)
    with only_writer(options.out):
        # The runs are checked again, since another comparison may have ended there meanwhile.
        refuse_others(runs, options)
        refuse_other_conditions(options)
        extraction = _extraction(options)
        keep_conditions(options)
        return _run_all(runs, options, extraction, launch)


def _extraction(options: CompareOptions) -> Extraction | None:
    """Return the cost of the extraction, or None where nothing is trained on the cache."""
    reading = [source for source in options.sources if not SOURCES[source].live]
    if not reading:
        return None
    workers = options.config_of(reading[0], options.seeds[0]).train.workers
    cost = extraction_cost(options, workers)
    log.info("extraction: %.1f s (%s)", cost.seconds, cost.origin)
    return cost


def _run_all(
    runs: Sequence[Run], options: CompareOptions, extraction: Extraction | None, launch: Launch
) -> Report:
    took: dict[str, list[float]] = defaultdict(list)
    for number, run in enumerate(runs):
        if run.finished:
            took[run.source].append(_figures(run).seconds)
            continue
        left = _time_left([other.source for other in runs[number:] if not other.finished], took)
        goes_on = " goes on" if run.begun else ""
        log.info("run %d of %d: %s%s%s", number + 1, len(runs), run.name, goes_on, left)
        started, whole = time.monotonic(), not run.begun
        train(run, options, launch)
        took[run.source].append(time.monotonic() - started if whole else _figures(run).seconds)
        _write(options.out, _report(runs, options, extraction))
    report = _report(runs, options, extraction)
    _write(options.out, report)
    return report


def _time_left(sources: Sequence[str], took: dict[str, list[float]]) -> str:
    """Return the time left in words, if any run is finished; a source without one takes the mean of all."""
    known = {source: fmean(seconds) for source, seconds in took.items() if seconds}
    if not known:
        return ""
    each = fmean(known.values())
    return f", about {shown_time(sum(known.get(source, each) for source in sources))} left"


def _figures(run: Run) -> RunFigures:
    return RunFigures.of(run.source, run.seed, read_history(run.folder))


def _report(runs: Sequence[Run], options: CompareOptions, extraction: Extraction | None) -> Report:
    """Return the report of the runs that are finished."""
    finished = [_figures(run) for run in runs if run.finished]
    sources = [
        SourceFigures(
            source,
            tuple(figures for figures in finished if figures.source == source),
            extraction.seconds if extraction and not SOURCES[source].live else 0.0,
            _disk_bytes(source, options),
        )
        for source in options.sources
        if any(figures.source == source for figures in finished)
    ]
    return Report(tuple(sources), extraction, len(runs))


def _disk_bytes(source: str, options: CompareOptions) -> int:
    """Return the size of the caches whose maps a source reads; none where its backbone changes the maps."""
    kind = SOURCES[source]
    caches = [] if kind.trains else [options.val] if kind.live else [options.cache, options.val]
    if kind.live and options.config_of(source, options.seeds[0]).backbone.adapters:
        caches = []
    return sum(_stored_bytes(cache) for cache in dict.fromkeys(caches))


def _stored_bytes(cache: Path) -> int:
    manifest = Manifest.read(cache, CacheHeader.read(cache))
    assert manifest is not None
    return manifest.stored_bytes


def _write(out: Path, report: Report) -> None:
    text = json.dumps(report.to_json(), indent=2) + "\n"
    publish_bytes(out / "compare.json", text.encode(), existing="replace")
    publish_bytes(out / "compare.md", report.to_markdown().encode(), existing="replace")
    draw_comparison(report.sources, out / "compare.png")
