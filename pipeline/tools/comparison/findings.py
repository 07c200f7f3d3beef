"""Sentences made from figures: where the cache loses, where it gains, and what the figures do not decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ....cache.disk.sizes import megabytes
from ...runs.points import points
from ...sources.kinds import SOURCES
from .figures import SourceFigures

# Ratios of time and memory that differ from 1 by no more than this count as equal.
SAME = 0.02

Verdict = Literal["loses", "gains", "even"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence on a source that reads a cache.

    source: its name. verdict: how it fares against the others in that respect.
    """

    source: str
    verdict: Verdict
    text: str


def findings(sources: Sequence[SourceFigures]) -> list[Finding]:
    """Return the findings on each source that reads a cache against the others; two are compared once."""
    reading = sorted((s for s in sources if not SOURCES[s.source].live), key=_order)
    compared = (_ap, _time, _process_memory, _device_memory)
    found: list[Finding] = []
    for number, mine in enumerate(reading):
        others = [source for source in sources if source not in reading[: number + 1]]
        found += [f for part in compared for other in others for f in part(mine, other)]
        found += _disk(mine, others)
    return found


def _order(source: SourceFigures) -> int:
    """Return the position of a source in the table of sources."""
    return list(SOURCES).index(source.source)


def _ap(mine: SourceFigures, other: SourceFigures) -> Iterator[Finding]:
    name, own, theirs = mine.source, mine.best_ap, other.best_ap
    seeds = min(len(mine.runs), len(other.runs))
    both = f"{points(theirs.mean)} against {points(own.mean)}"
    difference = theirs.mean - own.mean
    if points(abs(difference)) == "0.0":
        yield Finding(name, "even", f"AP: {other.source} and {name} reach the same ({both}).")
        return
    more, less = (other.source, name) if difference > 0 else (name, other.source)
    if difference < 0:
        both = f"{points(own.mean)} against {points(theirs.mean)}"
    if seeds > 1 and not own.apart_from(theirs):
        text = (
            f"AP: the {points(abs(difference))} by which {more} is above {less} ({both}) lies within the "
            f"spread of {seeds} seeds: neither is shown to be better."
        )
        yield Finding(name, "even", text)
        return
    text = f"AP: {more} reaches {points(abs(difference))} more than {less} ({both}; "
    if seeds == 1:
        known = "one seed: how far seeds scatter is not known, so neither is shown to be better)."
        yield Finding(name, "even", text + known)
        return
    known = f"means of {seeds} seeds, beyond their spread)."
    yield Finding(name, "loses" if difference > 0 else "gains", text + known)


def _time(mine: SourceFigures, other: SourceFigures) -> Iterator[Finding]:
    if not SOURCES[other.source].live:
        yield _training_time(mine, other)
        return
    name, once, ten = mine.source, mine.total_seconds(1), mine.total_seconds(10)
    theirs = other.seconds
    text = (
        f"Time: with one run, extraction included, {name} takes {_ratio(once, theirs)} x the time of "
        f"{other.source} ({once:.0f} s against {theirs:.0f} s)"
    )
    saved = theirs - mine.seconds
    if saved <= 0:
        why = f"the training alone takes {_ratio(mine.seconds, theirs)} x"
        end = f"; {why}, so it does not pay, however many runs share the cache."
    elif once > theirs:
        end = f"; it pays from {int(mine.extraction / saved) + 1} runs on."
    else:
        end = f"; {_ratio(ten, theirs)} x where ten runs share the cache."
    yield Finding(name, _verdict(once, theirs), text + end)


def _training_time(mine: SourceFigures, other: SourceFigures) -> Finding:
    """Return the finding on two sources that can read one cache."""
    text = (
        f"Time: training takes {_ratio(mine.seconds, other.seconds)} x with {mine.source} that of "
        f"{other.source} ({mine.seconds:.0f} s against {other.seconds:.0f} s); both read the cache."
    )
    return Finding(mine.source, _verdict(mine.seconds, other.seconds), text)


def _process_memory(mine: SourceFigures, other: SourceFigures) -> Iterator[Finding]:
    yield _memory("the process", mine, mine.process_mb, other.source, other.process_mb)


def _device_memory(mine: SourceFigures, other: SourceFigures) -> Iterator[Finding]:
    if mine.device_mb is not None and other.device_mb is not None:
        yield _memory("the device", mine, mine.device_mb, other.source, other.device_mb)


def _memory(where: str, mine: SourceFigures, own: float, source: str, theirs: float) -> Finding:
    text = (
        f"Memory of {where}: {mine.source} takes {_ratio(own, theirs)} x that of {source} ({own:.0f} MiB "
        f"against {theirs:.0f} MiB)."
    )
    return Finding(mine.source, _verdict(own, theirs), text)


def _disk(mine: SourceFigures, others: Sequence[SourceFigures]) -> Iterator[Finding]:
    smaller = [other for other in others if other.disk_bytes < mine.disk_bytes]
    if smaller:
        theirs = ", ".join(f"{_megabytes(other)} for {other.source}" for other in smaller)
        text = f"Disk: {_megabytes(mine)} of caches, against {theirs}."
        yield Finding(mine.source, "loses", text)


def _verdict(mine: float, theirs: float) -> Verdict:
    """Return how a source fares that takes this much, where less is better."""
    if abs(mine - theirs) <= SAME * theirs:
        return "even"
    return "loses" if mine > theirs else "gains"


def _megabytes(source: SourceFigures) -> str:
    return megabytes(source.disk_bytes) if source.disk_bytes else "none"


def _ratio(mine: float, theirs: float) -> str:
    return f"{mine / theirs:.2f}"
