"""PLAN.toml as a value: what every trial has, along which axes trials differ, and how many there are.

A change of an axis is a table of sections, as a run's own TOML has them, and of paths. A section that
names its neck or head replaces the previous section; one without a name changes only the settings it gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from ....cache.disk.objects import ObjectPath, located
from ....cache.errors import ConfigError, asked, did_you_mean
from ...runs.config import RunConfig, setting_names
from ...runs.presets import config_file
from ...runs.settings import from_mapping, read_toml, shown_value
from ...runs.suggestions import by_meaning
from ...sources.kinds import CACHED, ON_CACHES
from .pruning import PruningSettings, pruning_of

SECTIONS = tuple(f.name for f in fields(RunConfig))
PATHS = ("cache", "val", "annotations", "val_annotations", "start")
SOURCE = "source"
# The name in the table of such a section decides which other settings it has.
_NAMED_SECTIONS = ("neck", "head")
SEED = "train.seed"
Mode = Literal["grid", "list", "random"]
Sections = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of an axis.

    label: its name for people. sections, paths, source: what it changes; source is "" where it does not.
    """

    label: str
    sections: Sections
    paths: Mapping[str, Path]
    source: str = ""

    @property
    def settings(self) -> set[str]:
        """The full names of everything that it changes."""
        names = {f"{s}.{name}" for s, values in self.sections.items() for name in values}
        return names | set(self.paths) | ({SOURCE} if self.source else set())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Top:
    """The keys at the top of a plan.

    start: the run whose weights the trials begin with. source: the source of the pyramids. weights: the
    weights file of the backbone, for a tail, as --weights takes it. budget: the number of combinations that
    mode "random" draws, with `random_seed`. seeds: the seeds that each combination is trained with.
    """

    cache: str | None = None
    val: str | None = None
    annotations: str | None = None
    val_annotations: str | None = None
    start: str | None = None
    source: str = CACHED
    weights: str | None = None
    out: str | None = None
    mode: Mode = "grid"
    budget: int = 0
    random_seed: int = 0
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan as it was read.

    paths: the paths of PATHS, as far as they are given. source,
    weights: as in `_Top`. axes: the choices by axis, in the plan's order; mode "list" has one axis called
    "trial".
    """

    base: Sections
    axes: Mapping[str, tuple[Choice, ...]]
    paths: Mapping[str, Path]
    source: str
    weights: str | None
    out: Path | None
    mode: Mode
    budget: int
    random_seed: int
    seeds: tuple[int, ...]
    pruning: PruningSettings | None


def read_plan(path: Path) -> Plan:
    """Read a plan; paths in it are relative to its folder. Raises ConfigError where it is not valid."""
    values = read_toml(path)
    tables = {name: values.pop(name, None) for name in ("base", "axes", "trials", "pruning")}
    _refuse_unknown(values, tables, path)
    top = from_mapping(_Top, values, "plan")
    _check_top(top, tables, path)
    home = path.parent
    given = {
        name: _path_of(home, text) for name in PATHS if (text := getattr(top, name)) is not None
    }
    return Plan(
        base=_base(tables["base"] or {}, home),
        axes=_axes(tables, home),
        paths=given,
        source=_source(top.source, str(path)),
        weights=_weights_of(home, top.weights),
        out=None if top.out is None else home / top.out,
        mode=top.mode,
        budget=top.budget,
        random_seed=top.random_seed,
        seeds=top.seeds,
        pruning=pruning_of(tables["pruning"]),
    )


def _path_of(home: Path, text: str) -> Path:
    """Return the path of a cache or a file that a plan names."""
    found = located(text)
    return found if isinstance(found, ObjectPath) else home / found


def _source(value: object, where: str) -> str:
    """Return the name of a source on cached maps. Raises ConfigError for any other."""
    if not isinstance(value, str) or value not in ON_CACHES:
        raise ConfigError(
            f"{where}: source: expected one that reads caches, {' or '.join(ON_CACHES)}, got "
            f"{shown_value(value)}"
        )
    return value


def _weights_of(home: Path, text: str | None) -> str | None:
    """Return the weights that a plan names, which are relative to its folder where they lie there."""
    if text is None:
        return None
    file, mark, name = text.partition("#")
    local_file = (home / file).absolute()
    return f"{local_file}{mark}{name}" if local_file.is_file() else text


def _refuse_unknown(values: Mapping[str, Any], tables: Mapping[str, Any], path: Path) -> None:
    known = [*_Top.__dataclass_fields__, *tables]
    for name in values:
        if name not in known:
            meant = asked(by_meaning(name, setting_names()))
            hint = f"{meant} settings belong to [base] or [axes]" if meant else ""
            raise ConfigError(f"{path}: unknown key '{name}'{hint or did_you_mean(name, known)}")


def _check_top(top: _Top, tables: Mapping[str, Any], path: Path) -> None:
    if not top.seeds or len(set(top.seeds)) < len(top.seeds):
        raise ConfigError(f"{path}: seeds: expected some, each once, got {list(top.seeds)}")
    if (top.mode == "random") != (top.budget > 0):
        raise ConfigError(
            f"{path}: budget: expected the number of combinations to draw, above 0, with mode "
            f"'random' and nothing otherwise; got {top.budget} with mode '{top.mode}'"
        )
    used, idle = ("trials", "axes") if top.mode == "list" else ("axes", "trials")
    if tables[idle] is not None:
        raise ConfigError(f"{path}: mode '{top.mode}' takes [{used}], not [{idle}]")


def _base(values: object, home: Path) -> Sections:
    """Return the settings of `config`, a file or a preset, and on top of them those of the sections."""
    table = dict(_table(values, "base"))
    name = table.pop("config", None)
    known = ["config", *SECTIONS]
    for section in table:
        if section.partition(".")[0] not in known:
            raise ConfigError(f"unknown key 'base.{section}'{_hint(section, known)}")
    if name is not None and not isinstance(name, str):
        raise ConfigError(f"base.config: expected a file or a preset, got {shown_value(name)}")
    local_file = None if name is None else home / name
    found = (
        local_file if local_file is None or local_file.is_file() else config_file(Path(str(name)))
    )
    from_file = read_toml(found) if found is not None else {}
    sections, *_ = _split(table, "base", home)
    _refuse_seed([Choice("", sections, {})], "base")
    return merged(from_file, [sections])


def _axes(tables: Mapping[str, Any], home: Path) -> dict[str, tuple[Choice, ...]]:
    if tables["trials"] is not None:
        return {"trial": _choices("trials", tables["trials"], home)}
    axes: dict[str, tuple[Choice, ...]] = {}
    for name, values in _flat_axes(_table(tables["axes"] or {}, "axes")):
        axes[name] = _choices(name, values, home)
    for one, other in combinations(axes, 2):
        if both := _settings(axes[one]) & _settings(axes[other]):
            raise ConfigError(f"axes '{one}' and '{other}' both decide '{min(both)}'")
    return axes


def _flat_axes(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the axes by full name; `optim.lr = [...]` without quotes is a table in TOML."""
    for name, values in table.items():
        if name in SECTIONS and isinstance(values, Mapping):
            yield from ((f"{name}.{inner}", v) for inner, v in values.items())
        else:
            yield name, values


def _choices(axis: str, values: object, home: Path) -> tuple[Choice, ...]:
    if not isinstance(values, list) or not values:
        raise ConfigError(f"axis '{axis}': expected a list, got {shown_value(values)}")
    found = tuple(_choice(axis, value, home) for value in values)
    labels = [choice.label for choice in found]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"axis '{axis}': {label!r} appears twice; give each a label")
    _refuse_seed(found, f"axis '{axis}'")
    return found


def _choice(axis: str, value: object, home: Path) -> Choice:
    section, dot, setting = axis.partition(".")
    if dot:
        if section not in SECTIONS:
            hint = _hint(axis, SECTIONS, section)
            raise ConfigError(f"axis '{axis}': unknown section{hint}")
        return Choice(_shown(value), {section: {setting: value}}, {})
    if not isinstance(value, Mapping) and (meant := by_meaning(axis, setting_names())):
        raise ConfigError(f"axis '{axis}': unknown setting{asked(meant)}")
    table = dict(_table(value, f"axis '{axis}'"))
    label = table.pop("label", None)
    if label is not None and not isinstance(label, str):
        raise ConfigError(f"axis '{axis}': label: expected text, got {shown_value(label)}")
    if axis in SECTIONS:
        table = {axis: table}
    sections, paths, source = _split(table, f"axis '{axis}'", home)
    return Choice(label or _label(sections, paths, source), sections, paths, source)


def _split(
    table: Mapping[str, Any], where: str, home: Path
) -> tuple[dict[str, dict[str, Any]], dict[str, Path], str]:
    """Return the sections, the paths and the source of a table whose keys may have a dot."""
    sections: dict[str, dict[str, Any]] = {}
    paths: dict[str, Path] = {}
    source = ""
    for key, value in table.items():
        section, dot, setting = key.partition(".")
        if key in PATHS and where != "base":
            if not isinstance(value, str):
                raise ConfigError(f"{where}: {key}: expected a path, got {shown_value(value)}")
            paths[key] = _path_of(home, value)
        elif key == SOURCE and where != "base":
            source = _source(value, where)
        elif section not in SECTIONS:
            known = [*SECTIONS, *PATHS, SOURCE, "label"]
            raise ConfigError(f"{where}: unknown key '{key}'{_hint(key, known)}")
        elif dot:
            sections.setdefault(section, {})[setting] = value
        else:
            sections.setdefault(section, {}).update(_table(value, f"{where}: {section}"))
    return sections, paths, source


def merged(base: Sections, changes: Sequence[Sections]) -> dict[str, Any]:
    """Return the base with all changes: first those that replace a section, then those that change one."""
    found = dict(base)
    ordered = [(s, v) for change in changes for s, v in change.items()]
    ordered.sort(key=lambda change: not _replaces(*change))
    for section, values in ordered:
        before = found.get(section, {})
        same = _replaces(section, values) or not isinstance(before, Mapping)
        found[section] = dict(values) if same else {**before, **values}
    return found


def _replaces(section: str, values: Mapping[str, Any]) -> bool:
    return section in _NAMED_SECTIONS and "name" in values


def _settings(choices: Sequence[Choice]) -> set[str]:
    return set().union(*(choice.settings for choice in choices))


def _refuse_seed(choices: Sequence[Choice], where: str) -> None:
    if SEED in _settings(choices):
        raise ConfigError(f"{where}: {SEED} is given by `seeds`")


def _hint(path: str, known: Sequence[str], name: str | None = None) -> str:
    """Return the setting that a path stands for, or the known name that is spelt most like `name`."""
    return asked(by_meaning(path, setting_names())) or did_you_mean(name or path, known)


def _table(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a table, got {shown_value(value)}")
    return value


def _label(sections: Sections, paths: Mapping[str, Path], source: str) -> str:
    """Return a label such as `retinanet, convs 2`."""
    words = [source] if source else []
    for section, values in sections.items():
        bare = _replaces(section, values)
        words += [
            _shown(v) if bare and n == "name" else f"{n} {_shown(v)}" for n, v in values.items()
        ]
    return ", ".join([*words, *(path.stem for path in paths.values())]) or "base"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return value if isinstance(value, str) else shown_value(value)
