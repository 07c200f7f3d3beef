"""The axes in which runs differ, and groups of runs that differ only in the seed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...runs.extension import shown_extensions
from ...runs.info import FRESH, PROCESSES, THREADS, RunInfo
from .records import RunRecord

SEED, START = "train.seed", "start"
# With more axes than this, labels have only what is not the most common value of an axis.
MANY_AXES = 4
Value = Hashable
# Of two axes that always change together, the one that comes first here names both.
_FIRST = ("source", "neck.name", "head.name", "backbone", "weights", "codec", "views", "resize")
# Settings that are a part of what an axis stands for, besides those of the axis' own section.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "backbone": ("weights", "levels"),
    "source": ("backbone.train_from", "backbone.adapters"),
}


@dataclass(frozen=True, slots=True)
class Axis:
    """A setting in which runs differ.

    values: its value in each run, None where a run has no such setting. along: settings that change whenever
    this one does, so that no difference between its values is an effect of it alone.
    """

    name: str
    values: tuple[Value, ...]
    along: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return self.name.removesuffix(".name")

    @property
    def levels(self) -> list[Value]:
        """The distinct values, the most common first, and equally common ones in numeric or text order."""
        counts = Counter(self.values)
        return sorted(counts, key=lambda value: (-counts[value], *_order(value)))


@dataclass(frozen=True, slots=True)
class Group:
    """Runs, by their positions, that agree in all settings but the seed."""

    label: str
    values: tuple[Value, ...]
    runs: tuple[int, ...]


def axes_of(records: Sequence[RunRecord]) -> list[Axis]:
    """Return the axes of the records that have a configuration; the others have None as every value."""
    flat = [None if r.info is None else settings_of(r.info) for r in records]
    known = [settings for settings in flat if settings is not None]
    _merge_starts(known)
    names = list(dict.fromkeys(name for settings in known for name in settings))
    names.sort(key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    found: dict[str, list[str]] = {}
    for name in names:
        own = [settings.get(name) for settings in known]
        if len(set(own)) == 1 or name == SEED:
            continue
        columns = {other: [settings.get(other) for settings in known] for other in found}
        if name.endswith(" cache") and _follows(own, list(zip(*columns.values(), strict=True))):
            continue  # its id only repeats what the axes say
        leader = next((o for o, column in columns.items() if _follows(own, column)), None)
        if leader is None:
            found[name] = []
        elif not _is_part(name, leader):
            found[leader].append(name)
    return [
        Axis(name, tuple(None if s is None else s.get(name) for s in flat), tuple(along))
        for name, along in found.items()
    ]


def groups_of(records: Sequence[RunRecord], axes: Sequence[Axis]) -> list[Group]:
    """Return the groups in the order of their first runs.

    A run whose configuration is unreadable is in no group.
    """
    members: dict[tuple[Value, ...], list[int]] = {}
    for position, record in enumerate(records):
        if record.info is not None:
            values = tuple(axis.values[position] for axis in axes)
            members.setdefault(values, []).append(position)
    return [
        Group(_label(values, axes) or records[runs[0]].name, values, tuple(runs))
        for values, runs in members.items()
    ]


def shown(value: Value) -> str:
    """Return a value as it is displayed."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(shown, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value) or "all"


def _label(values: Sequence[Value], axes: Sequence[Axis]) -> str:
    """Return a label of the values, such as `fcos lr=0.001`: numbers need the name of their axis.

    With many axes the most common value of each is left out, unless it is a name such as that of a head.
    """
    endings = Counter(axis.label.rpartition(".")[2] for axis in axes)
    parts = []
    for axis, value in zip(axes, values, strict=True):
        plain = isinstance(value, str) and axis.name in _FIRST
        usual = len(axes) > MANY_AXES and value == axis.levels[0]
        if value is None or (usual and not plain):
            continue
        name = axis.label.rpartition(".")[2]
        name = axis.label if endings[name] > 1 else name
        parts.append(shown(value) if plain else f"{name}={shown(value)}")
    label = (", " if any(" " in part for part in parts) else " ").join(parts)
    return label or ("as most runs" if axes else "")


# The folder of a trial of `fdet ablate`: the first digits of a digest, which say nothing to people.
_TRIAL = re.compile("[0-9a-f]{12}")


def is_trial(record: RunRecord) -> bool:
    """Return whether a run is a trial of `fdet ablate`, whose folder's name is a digest."""
    return record.info is not None and bool(_TRIAL.fullmatch(record.folder.name))


def named_trials(records: Sequence[RunRecord], axes: Sequence[Axis]) -> list[RunRecord]:
    """Return the records with the trials of ablations named by what differs, such as `fcos seed=0`.

    All names stay different; where nothing differs, a name stays as it is.
    """
    seeds = {record.seed for record in records if record.info is not None}
    found = []
    for k, record in enumerate(records):
        if is_trial(record):
            label = _label([axis.values[k] for axis in axes], axes)
            seed = f"seed={record.seed}" if len(seeds) > 1 else ""
            name = " ".join(filter(None, [label, seed])) or record.name
            record = replace(record, name=name)
        found.append(record)
    counts = Counter(record.name for record in found)
    return [
        record if counts[record.name] == 1 else replace(record, name=f"{record.name} ({old.name})")
        for record, old in zip(found, records, strict=True)
    ]


def settings_of(info: RunInfo) -> dict[str, Value]:
    """Return the settings in which runs may differ, by name."""
    return dict(_settings(info))


def _settings(info: RunInfo) -> Iterator[tuple[str, Value]]:
    key = info.key
    yield "source", info.source
    yield "backbone", key.backbone
    yield "weights", key.weights_sha256[:12]
    yield "codec", key.codec
    yield "views", ",".join(key.views)
    yield "resize", f"{key.short} to {key.long}" + (" square" if key.square else "")
    yield "levels", tuple(level.name for level in key.levels.levels)
    yield "extraction precision", key.precision
    for section, values in info.config.to_mapping().items():
        for name, value in values.items():
            yield f"{section}.{name}", _hashable(value)
    for name, text in info.data.items():
        if name.endswith(" data"):
            caches, _, annotations = text.rpartition(" ")
            yield name.replace("data", "annotations"), annotations[:12]
            yield name.replace("data", "cache"), " ".join(c[:12] for c in caches.split())
        elif name not in ("source", THREADS, PROCESSES):
            yield name, text[:24]
    if info.extensions:
        yield "extended", shown_extensions(info.extensions)


def _is_part(name: str, leader: str) -> bool:
    """Return whether a setting is a part of what an axis stands for: a head has settings of its own."""
    sections = leader.partition(".")[0], name.partition(".")[0]
    return sections[0] == sections[1] or name in _PARTS.get(leader, ())


def _merge_starts(known: Sequence[dict[str, Value]]) -> None:
    """Replace the run that each run started from by "a run", where seed and settings determine it.

    Seeds that each continue a run of their own are then one group.
    """
    starts: dict[Hashable, set[Value]] = {}
    for settings in known:
        others = frozenset(item for item in settings.items() if item[0] != START)
        starts.setdefault(others, set()).add(settings.get(START))
    if all(len(own) == 1 for own in starts.values()):
        for settings in known:
            if settings.get(START, FRESH) != FRESH:
                settings[START] = "a run"


def _hashable(value: Any) -> Value:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _follows(own: Sequence[Value], leader: Sequence[Value]) -> bool:
    """Return whether each value of the leader always goes with the same value of this setting."""
    pairs: Mapping[Value, set[Value]] = {value: set() for value in leader}
    for value, leading in zip(own, leader, strict=True):
        pairs[leading].add(value)
    return bool(pairs) and all(len(values) == 1 for values in pairs.values())


def _order(value: Value) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 0, float(value), ""
    return 1, 0.0, shown(value)
