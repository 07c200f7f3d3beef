"""The effects of settings: differences of runs that are equal in everything else, including the seed.

An axis along which other settings change too has no effect that could be told from theirs, and has none here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any, Literal

from ...runs.chance import student
from .axes import Axis, Value, shown
from .records import RunRecord

MEASURES: Mapping[str, str] = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "seconds": "seconds"}
Verdict = Literal["higher", "lower", "no difference", "one pair", "one seed"]
# For each measure the factor and digits with which people read it: AP is displayed in points.
_SHOWN: Mapping[str, tuple[float, int]] = {"seconds": (1.0, 1)}
_POINTS = (100.0, 1)


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect of a value of an axis in comparison with its reference value, over pairs of runs.

    differences: the measure at `value` less that at `reference`, for each pair, in the unit of the measure.
    seeds: how many seeds the pairs have. One pair, or one seed, says nothing about chance, so it has no
    interval.
    """

    axis: str
    measure: str
    reference: str
    value: str
    differences: tuple[float, ...]
    seeds: int = 1

    @property
    def mean(self) -> float:
        return fmean(self.differences)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's 95 % interval of the mean difference, None with one pair or one seed."""
        pairs = len(self.differences)
        if pairs < 2 or self.seeds < 2:
            return None
        half = student(pairs - 1) * stdev(self.differences) / math.sqrt(pairs)
        return self.mean - half, self.mean + half

    @property
    def verdict(self) -> Verdict:
        interval = self.interval
        if interval is None:
            return "one pair" if len(self.differences) == 1 else "one seed"
        if interval[0] <= 0 <= interval[1]:
            return "no difference"
        return "higher" if self.mean > 0 else "lower"

    @property
    def sentence(self) -> str:
        """A sentence that reports the effect."""
        factor, digits = _SHOWN.get(self.measure, _POINTS)
        name, pairs = MEASURES[self.measure], len(self.differences)
        change = _signed(factor * self.mean, digits)
        start = f"{self.axis} {self.value} against {self.reference}: {name} {change}"
        if self.verdict == "one pair":
            return f"{start} in one pair; it takes two to say more"
        if self.interval is None:
            return f"{start} in {pairs} pairs of one seed; how far seeds scatter is not known"
        low, high = (_signed(factor * bound, digits) for bound in self.interval)
        verdict = "no difference shown" if self.verdict == "no difference" else self.verdict
        return f"{start} [{low}, {high}], {pairs} pairs: {verdict}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields and the values that follow from them."""
        derived = ("mean", "interval", "verdict", "sentence")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def effects_of(records: Sequence[RunRecord], axes: Sequence[Axis], measure: str) -> list[Effect]:
    """Return the effect of each value of each axis in comparison with the axis' most common one.

    Only finished runs count. The runs of a pair agree in the seed and in all other axes. Repetitions of one
    run count as their mean. An axis with other settings along it has no effect of its own.
    """
    alone = [axis for axis in axes if not axis.along]
    return [effect for axis in alone for effect in _of_axis(records, axes, axis, measure)]


def _of_axis(
    records: Sequence[RunRecord], axes: Sequence[Axis], axis: Axis, measure: str
) -> Iterator[Effect]:
    others = [other for other in axes if other is not axis]
    cells: dict[Value, dict[tuple[Value, ...], list[float]]] = {}
    for k, record in enumerate(records):
        found = record.figures.get(measure)
        if record.finished and found is not None:
            rest = (record.seed, *(other.values[k] for other in others))
            cells.setdefault(axis.values[k], {}).setdefault(rest, []).append(found)
    reference, *values = [value for value in axis.levels if value in cells] or [None]
    for value in values:
        shared = [rest for rest in cells[value] if rest in cells[reference]]
        pairs = [fmean(cells[value][rest]) - fmean(cells[reference][rest]) for rest in shared]
        if pairs:
            seeds = len({rest[0] for rest in shared})
            yield Effect(axis.label, measure, shown(reference), shown(value), tuple(pairs), seeds)
