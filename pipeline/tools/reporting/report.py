"""The report on some runs: the one value that the page, the tables and the terminal of `fdet report` show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ...runs.figures import Spread
from ...runs.rows import Row
from .axes import (
    Axis,
    Group,
    Value,
    axes_of,
    groups_of,
    named_trials,
    settings_of,
    shown,
)
from .commands import find_caches, reproduction
from .effects import MEASURES, Effect, effects_of
from .front import front
from .gallery import Gallery
from .records import RunRecord
from .tidy import tidy

# The costs of a group with which its AP is compared.
COSTS: Mapping[str, str] = {
    "trained": "trained parameters",
    "seconds": "seconds of training",
    "process_mb": "peak memory of the process, MiB",
    "device_mb": "peak memory of the accelerator, MiB",
}
# Of so many settings that change along with an axis, a note gives the values.
ALONG = 3


@dataclass(frozen=True)
class Report:
    """A comparison of runs.

    axes, groups: the settings in which runs differ, and groups of runs, by positions in `records`.
    commands: the command that reproduces each run.
    """

    records: tuple[RunRecord, ...]
    axes: tuple[Axis, ...]
    groups: tuple[Group, ...]
    commands: tuple[str, ...]
    gallery: Gallery = field(default_factory=Gallery)

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of the tidy table, one for each run."""
        return tidy(self.records, self.axes, self.groups, self.commands)

    @cached_property
    def effects(self) -> dict[str, list[Effect]]:
        """The effects of all axes, by measure."""
        return {name: effects_of(self.records, self.axes, name) for name in MEASURES}

    def finished_of(self, group: Group) -> list[int]:
        """Return the positions of the finished runs of a group."""
        return [k for k in group.runs if self.records[k].finished]

    def spread(self, group: Group, column: str) -> Spread | None:
        """Return the spread of a numeric column over the finished runs, or None where no run has a value."""
        values = [self.rows[k][column] for k in self.finished_of(group)]
        known = [float(value) for value in values if value is not None]
        return Spread.of(known) if known else None

    def mean(self, group: Group, column: str) -> float | None:
        spread = self.spread(group, column)
        return None if spread is None else spread.mean

    @cached_property
    def fronts(self) -> dict[str, list[int]]:
        """The Pareto front of the groups for each cost, cheapest first, without costs that no group knows."""
        means = {c: [(self.mean(g, c), self.mean(g, "ap")) for g in self.groups] for c in COSTS}
        return {cost: chosen for cost, points in means.items() if (chosen := front(points))}

    @property
    def best_runs(self) -> list[RunRecord]:
        """The finished run with the best AP of each group, the best group first."""
        best = [
            max((self.records[k] for k in self.finished_of(group)), key=_ap_of, default=None)
            for group in self.groups
        ]
        return sorted((record for record in best if record is not None), key=_ap_of, reverse=True)

    @property
    def sentence(self) -> str:
        """A sentence that says what was compared."""
        states = Counter(record.state for record in self.records)
        runs = _count(len(self.records), "run")
        if states["finished"] < len(self.records):
            parts = (f"{count} {state}" for state, count in states.most_common())
            runs += f" ({', '.join(parts)})"
        backbones = {r.info.key.backbone for r in self.records if r.info is not None}
        names = [axis.label for axis in self.axes]
        where = f"differing in {_listed(names)}" if names else "alike in all settings but the seed"
        seeds = {record.seed for record in self.records if record.seed is not None}
        return (
            f"{runs} on features of {_listed(sorted(backbones)) or 'an unknown backbone'}, {where}: "
            f"{_count(len(self.groups), 'group')}, {_count(len(seeds), 'seed')}."
        )

    @property
    def notes(self) -> list[str]:
        """The remarks that a reader must know about these figures."""
        notes = [
            f"{r.name} is {r.state}: {r.note}" for r in self.records if r.note and not r.finished
        ]
        for axis in self.axes:
            if axis.along:
                notes.append(
                    f"the effect of {axis.label} cannot be told: {_listed(list(axis.along))} "
                    f"change{'s' * (len(axis.along) == 1)} along with it, so nothing can separate them "
                    f"({_levels(self, axis)})."
                )
        sets = {
            r.info.data.get("validation data", "").rpartition(" ")[2]
            for r in self.records
            if r.info is not None and r.figures.get("ap") is not None
        }
        if len(sets) > 1:
            notes.append(
                "The runs were not validated on the same annotations: their APs are not comparable."
            )
        return notes


def make_report(records: Sequence[RunRecord], caches: Sequence[Path] = ()) -> Report:
    """Return the report on some records.

    caches: paths of caches for the commands, in addition to those in the surroundings of the runs.
    """
    axes = axes_of(records)
    found = find_caches([record.folder for record in records], caches)
    commands = [reproduction(record, found) for record in records]
    named = named_trials(records, axes)
    return Report(tuple(named), tuple(axes), tuple(groups_of(named, axes)), tuple(commands))


def _levels(report: Report, axis: Axis) -> str:
    """Return the values of an axis with those of the settings along it, e.g. `fcos: train.epochs 12`."""
    found = dict[Value, str]()
    for record, value in zip(report.records, axis.values, strict=True):
        if record.info is not None:
            settings = settings_of(record.info)
            others = (f"{name} {shown(settings.get(name))}" for name in axis.along[:ALONG])
            found.setdefault(value, f"{shown(value)}: {', '.join(others)}")
    return "; ".join(found[value] for value in axis.levels if value in found)


def _ap_of(record: RunRecord) -> float:
    return record.figures.get("ap") or 0.0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _listed(names: Sequence[str]) -> str:
    *others, last = names or [""]
    return f"{', '.join(others)} and {last}" if others else last
