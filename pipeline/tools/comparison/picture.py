"""compare.png: AP over the time that it took, with a colour per source and a line and a dot per seed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ....cache.disk.publish import publish_bytes
from ...runs.figures import RunFigures
from ...sources.kinds import SOURCES
from .figures import SourceFigures
from .report import SHARED_BY, amortised


def draw_comparison(sources: Sequence[SourceFigures], path: Path) -> None:
    """Draw the best AP so far over the seconds of training, and of extraction where there was one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    for source in sources:
        shares = (SHARED_BY[0], SHARED_BY[-1]) if amortised(source) else SHARED_BY[:1]
        for runs in shares:
            _draw_source(axes, source, runs)
    axes.set(xlabel="seconds of training, extraction included", ylabel="best AP so far, points")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=130)
    publish_bytes(path, image.getvalue(), existing="replace")


def _draw_source(axes: Any, source: SourceFigures, runs: int) -> None:
    """Draw the runs of a source.

    runs: the number of runs that share the extraction; with several, lines are dashed and dots are hollow.
    """
    colour, first = SOURCES[source.source].colour, source.extraction / runs
    label = source.source
    if amortised(source):
        label += f", {runs} runs share the cache" if runs > 1 else ", extraction and 1 run"
    for run in source.runs:
        seconds, best = _learning_curve(run, first)
        axes.step(
            seconds,
            [100 * ap for ap in best],
            where="post",
            color=colour,
            alpha=0.45 if runs > 1 else 0.8,
            linewidth=1.2,
            linestyle="--" if runs > 1 else "-",
        )
    axes.plot(
        [first + run.seconds for run in source.runs],
        [100 * run.best_ap for run in source.runs],
        "o",
        color=colour,
        markerfacecolor="white" if runs > 1 else colour,
        markersize=7,
        label=label,
        zorder=3,
    )


def _learning_curve(run: RunFigures, first: float) -> tuple[list[float], list[float]]:
    """Return the times of a run's start, evaluations and end, and the best AP up to each of them."""
    seconds, best = [first], [0.0]
    for at, ap in run.learning_curve:
        seconds.append(first + at)
        best.append(max(best[-1], ap))
    seconds.append(first + run.seconds)
    best.append(best[-1])
    return seconds, best
