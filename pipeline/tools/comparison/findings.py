"""Sentences made from figures: where the cache loses, where it gains, and what the figures do not decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ...runs.points import points
from ...sources.kinds import CACHED
from .figures import SourceFigures

# Ratios of time and memory that differ from 1 by no more than this count as equal.
SAME = 0.02

Verdict = Literal["loses", "gains", "even"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence on the cached source. verdict: how it fares against the others in that respect."""

    verdict: Verdict
    text: str


def findings(sources: Sequence[SourceFigures]) -> list[Finding]:
    """Return the findings on the cached source against each other one; none where either is missing."""
    own = [source for source in sources if source.source == CACHED]
    others = [source for source in sources if source.source != CACHED]
    compared = (_ap, _time, _process_memory, _device_memory)
    found = [f for part in compared for mine in own for other in others for f in part(mine, other)]
    return [*found, *(f for mine in own for f in _disk(mine, others))]


def _ap(cached: SourceFigures, other: SourceFigures) -> Iterator[Finding]:
    mine, theirs = cached.best_ap, other.best_ap
    seeds = min(len(cached.runs), len(other.runs))
    both = f"{points(theirs.mean)} against {points(mine.mean)}"
    difference = theirs.mean - mine.mean
    if points(abs(difference)) == "0.0":
        yield Finding("even", f"AP: {other.source} and cached reach the same ({both}).")
        return
    more, less = (other.source, CACHED) if difference > 0 else (CACHED, other.source)
    if difference < 0:
        both = f"{points(mine.mean)} against {points(theirs.mean)}"
    if seeds > 1 and not mine.apart_from(theirs):
        text = (
            f"AP: the {points(abs(difference))} by which {more} is above {less} ({both}) lies within the "
            f"spread of {seeds} seeds: neither is shown to be better."
        )
        yield Finding("even", text)
        return
    text = f"AP: {more} reaches {points(abs(difference))} more than {less} ({both}; "
    if seeds == 1:
        known = "one seed: how far seeds scatter is not known, so neither is shown to be better)."
        yield Finding("even", text + known)
        return
    known = f"means of {seeds} seeds, beyond their spread)."
    yield Finding("loses" if difference > 0 else "gains", text + known)


def _time(cached: SourceFigures, other: SourceFigures) -> Iterator[Finding]:
    once, ten, theirs = cached.total_seconds(1), cached.total_seconds(10), other.seconds
    text = (
        f"Time: with one run, extraction included, cached takes {_ratio(once, theirs)} x the time of "
        f"{other.source} ({once:.0f} s against {theirs:.0f} s)"
    )
    saved = theirs - cached.seconds
    if saved <= 0:
        why = f"the training alone takes {_ratio(cached.seconds, theirs)} x"
        end = f"; {why}, so it does not pay, however many runs share the cache."
    elif once > theirs:
        end = f"; it pays from {int(cached.extraction / saved) + 1} runs on."
    else:
        end = f"; {_ratio(ten, theirs)} x where ten runs share the cache."
    if _same(once, theirs):
        yield Finding("even", text + end)
    else:
        yield Finding("loses" if once > theirs else "gains", text + end)


def _process_memory(cached: SourceFigures, other: SourceFigures) -> Iterator[Finding]:
    yield _memory("the process", cached.process_mb, other.source, other.process_mb)


def _device_memory(cached: SourceFigures, other: SourceFigures) -> Iterator[Finding]:
    if cached.device_mb is not None and other.device_mb is not None:
        yield _memory("the device", cached.device_mb, other.source, other.device_mb)


def _memory(where: str, mine: float, source: str, theirs: float) -> Finding:
    text = (
        f"Memory of {where}: cached takes {_ratio(mine, theirs)} x that of {source} ({mine:.0f} MiB "
        f"against {theirs:.0f} MiB)."
    )
    if _same(mine, theirs):
        return Finding("even", text)
    return Finding("loses" if mine > theirs else "gains", text)


def _disk(cached: SourceFigures, others: Sequence[SourceFigures]) -> Iterator[Finding]:
    smaller = [other for other in others if other.disk_bytes < cached.disk_bytes]
    if smaller:
        theirs = ", ".join(f"{_megabytes(other)} for {other.source}" for other in smaller)
        yield Finding("loses", f"Disk: {_megabytes(cached)} of caches, against {theirs}.")


def _megabytes(source: SourceFigures) -> str:
    return f"{source.disk_bytes / 1e6:.1f} MB" if source.disk_bytes else "none"


def _ratio(mine: float, theirs: float) -> str:
    return f"{mine / theirs:.2f}"


def _same(mine: float, theirs: float) -> bool:
    return abs(mine - theirs) <= SAME * theirs
