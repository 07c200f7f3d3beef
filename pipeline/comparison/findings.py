"""Where the cache loses, where it gains, and what the figures do not decide: sentences, from values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .figures import SourceFigures
from .options import CACHED

Verdict = Literal["loses", "gains", "even"]


@dataclass(frozen=True, slots=True)
class Finding:
    """verdict: of the cached source, against one other."""

    verdict: Verdict
    text: str


def findings(sources: Sequence[SourceFigures]) -> list[Finding]:
    """The cached source against each other one; nothing where either is lacking."""
    own = [source for source in sources if source.source == CACHED]
    others = [source for source in sources if source.source != CACHED]
    compared = (_ap, _time, _process_memory, _device_memory, _disk)
    return [f for part in compared for mine in own for other in others for f in part(mine, other)]


def _ap(cached: SourceFigures, other: SourceFigures) -> Iterator[Finding]:
    mine, theirs = cached.best_ap, other.best_ap
    seeds = min(len(cached.runs), len(other.runs))
    both = f"{theirs.mean:.3f} against {mine.mean:.3f}"
    difference = theirs.mean - mine.mean
    if f"{abs(difference):.3f}" == "0.000":
        yield Finding("even", f"AP: {other.source} and cached reach the same ({both}).")
        return
    more, less = (other.source, CACHED) if difference > 0 else (CACHED, other.source)
    if difference < 0:
        both = f"{mine.mean:.3f} against {theirs.mean:.3f}"
    if seeds > 1 and not mine.apart_from(theirs):
        text = (
            f"AP: the {abs(difference):.3f} by which {more} is above {less} ({both}) lie within the "
            f"spread of {seeds} seeds: neither is shown to be better."
        )
        yield Finding("even", text)
        return
    known = f"means of {seeds} seeds, beyond their spread"
    if seeds == 1:
        known = "one seed: how far seeds scatter is not known"
    text = f"AP: {more} reaches {abs(difference):.3f} more than {less} ({both}; {known})."
    yield Finding("loses" if difference > 0 else "gains", text)


def _time(cached: SourceFigures, other: SourceFigures) -> Iterator[Finding]:
    once, theirs = cached.total_seconds(1), other.seconds
    ratio = _ratio(once, theirs)
    text = (
        f"Time: with one run, extraction included, cached takes {ratio} x the time of {other.source} "
        f"({once:.0f} s against {theirs:.0f} s)"
    )
    saved = theirs - cached.seconds
    if once <= theirs:
        later = f"; where ten runs share the cache, {_ratio(cached.total_seconds(10), theirs)} x"
        yield Finding("even" if ratio == "1.00" else "gains", f"{text}{later}.")
    elif saved <= 0:
        steps = _ratio(cached.seconds, theirs)
        yield Finding(
            "loses",
            f"{text}; without extraction {steps} x: it does not pay however many runs share the cache.",
        )
    else:
        runs = int(cached.extraction / saved) + 1
        yield Finding("loses", f"{text}: it pays from {runs} runs on.")


def _process_memory(cached: SourceFigures, other: SourceFigures) -> Iterator[Finding]:
    yield _memory("the process", cached.process_mb, other.source, other.process_mb)


def _device_memory(cached: SourceFigures, other: SourceFigures) -> Iterator[Finding]:
    if cached.device_mb is not None and other.device_mb is not None:
        yield _memory("the device", cached.device_mb, other.source, other.device_mb)


def _memory(where: str, mine: float, source: str, theirs: float) -> Finding:
    ratio = _ratio(mine, theirs)
    text = (
        f"Memory of {where}: cached takes {ratio} x that of {source} ({mine:.0f} MiB against "
        f"{theirs:.0f} MiB)."
    )
    if ratio == "1.00":
        return Finding("even", text)
    return Finding("loses" if mine > theirs else "gains", text)


def _disk(cached: SourceFigures, other: SourceFigures) -> Iterator[Finding]:
    if cached.disk_bytes > other.disk_bytes:
        text = (
            f"Disk: the caches of cached take {cached.disk_bytes / 1e6:.1f} MB, those of "
            f"{other.source} {other.disk_bytes / 1e6:.1f} MB."
        )
        yield Finding("loses", text)


def _ratio(mine: float, theirs: float) -> str:
    return f"{mine / max(theirs, 1e-9):.2f}"
