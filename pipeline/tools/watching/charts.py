"""Line charts as SVG: text alone, without a script. Colours come from the classes of a style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape

from .readings import Curve

WIDTH, HEIGHT = 460, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 10, 40
# Beyond this share of all values the highest ones are cut off, so that a peak does not flatten the rest.
_SHOWN = 0.98
_MOST = 1e30


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart. number: that of its run, from which its colour and dash follow."""

    number: int
    name: str
    points: Curve


@dataclass(frozen=True, slots=True)
class _Scale:
    """A linear scale from values to px of the picture."""

    first: float
    last: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.first) / (self.last - self.first)
        return self.start + min(max(share, -9.0), 9.0) * (self.end - self.start)


def chart(title: str, lines: Sequence[Line], *, cut: bool = False) -> str:
    """Return a chart over the steps; its title is read by screen readers.

    cut: whether rare high values may lie above the chart.
    """
    lines = [_bounded(line) for line in lines if line.points]
    if not lines:
        return '<p class="nothing">nothing yet</p>'
    values = [value for line in lines for _, value in line.points]
    last = max(1, *(step for line in lines for step, _ in line.points))
    steps = [step for step in _ticks(0.0, last) if step <= last]
    heights = _ticks(min(0.0, *values), _upper(values) if cut else max(values))
    x = _Scale(0.0, last, _LEFT, WIDTH - _RIGHT)
    y = _Scale(heights[0], heights[-1], HEIGHT - _BOTTOM, _TOP)
    parts = [*_grid(steps, heights, x, y), *(_path(line, x, y) for line in lines)]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _bounded(line: Line) -> Line:
    """Return a line whose values can be subtracted from each other without an overflow."""
    points = tuple((step, min(max(value, -_MOST), _MOST)) for step, value in line.points)
    return replace(line, points=points)


def _upper(values: Sequence[float]) -> float:
    """Return the upper end of a chart that cuts off rare high values by far."""
    ordered = sorted(values)
    usual = ordered[min(len(ordered) - 1, math.ceil(_SHOWN * len(ordered)) - 1)]
    return ordered[-1] if ordered[-1] <= 1.5 * usual or usual <= 0 else usual


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers, about four steps apart, of which the outermost enclose the range."""
    high = high if high > low else low + max(1.0, abs(low))
    raw = (high - low) / 4
    if not math.isfinite(raw) or raw == 0:
        return [low, high]
    unit = 10.0 ** math.floor(math.log10(raw))
    size = next(f * unit for f in (1, 2, 2.5, 5, 10) if f * unit >= raw * 0.999)
    first, last = math.floor(low / size), math.ceil(high / size - 1e-9)
    return [k * size for k in range(first, last + 1)]


def _grid(steps: Sequence[float], heights: Sequence[float], x: _Scale, y: _Scale) -> Iterator[str]:
    for value in heights:
        at = f"{y(value):.1f}"
        yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>'
        yield f'<text x="{_LEFT - 6}" y="{at}" dy="4" text-anchor="end">{_number(value)}</text>'
    for value in steps:
        at = f"{x(value):.1f}"
        yield f'<text x="{at}" y="{HEIGHT - 22}" text-anchor="middle">{_number(value)}</text>'
    yield f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2:.0f}" y="{HEIGHT - 5}" text-anchor="middle">step</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\u202f") if abs(value) >= 1000 else f"{value:.4g}"


def _path(line: Line, x: _Scale, y: _Scale) -> str:
    """Return a line with its name as a tooltip; a single point is a dot."""
    places = [f"{x(step):.1f} {max(y(value), _TOP - 2.0):.1f}" for step, value in line.points]
    way = f"M{'L'.join(places)}" + ("h0.1" if len(places) == 1 else "")
    return (
        f'<path class="line r{line.number} {look(line.number)}" d="{way}">'
        f"<title>{escape(line.name)}</title></path>"
    )


COLOURS, DASHES = 7, 4


def look(number: int) -> str:
    """Return the classes with the colour and the dash of a run's line; 28 runs have different ones."""
    return f"c{number % COLOURS} d{number // COLOURS % DASHES}"
