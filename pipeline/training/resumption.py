"""What `fdet train-heads --resume RUN` goes on with: the run's own settings and options, and what was given.

Options that the command line does not give are those that the run was last started with. Settings are the
run's own; the only one that may be given another value is train.epochs, which may grow.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...cache.disk.objects import ObjectPath, located
from ...cache.errors import ConfigError, CorruptCache, InputError
from ..backbones.weights_option import absolute
from ..command import flag_of
from ..runs.config import RunConfig
from ..runs.folder import changed_settings, is_longer, refuse_taken
from ..runs.given import GivenSettings
from ..runs.info import RunInfo
from ..runs.kept_options import NAME, read_options
from .options import TrainOptions

# The options that a run keeps, by what they are.
CACHES = ("cache", "second")
PLACES = ("val", "val_second")
PATHS = ("annotations", "val_annotations", "images", "val_images", "class_embeddings", "start")
TEXTS = ("format", "split", "val_split", "source", "weights", "on_corrupt", "device", "resident")
COUNTS = ("threads", "memory_limit")
LISTS = ("track",)
# How messages write an option whose flag is not its name.
_FLAGS = {"cache": "CACHE", "second": "--with", "val_second": "--val-with"}


def kept_values(options: TrainOptions) -> dict[str, Any]:
    """Return the options that a run keeps, as values for a JSON file, with absolute paths."""
    values: dict[str, Any] = {
        "cache": [_absolute(path) for path in options.caches],
        "second": [_absolute(path) for path in options.seconds],
        "weights": options.weights and absolute(options.weights),
        "track": list(options.track),
    }
    for name in (*PLACES, *PATHS):
        path = getattr(options, name)
        values[name] = None if path is None else _absolute(path)
    for name in (*TEXTS, *COUNTS):
        values.setdefault(name, getattr(options, name))
    return {name: value for name, value in values.items() if value not in (None, [])}


def resumed(
    options: TrainOptions, given: Collection[str], settings: GivenSettings
) -> tuple[RunConfig, TrainOptions]:
    """Return the settings and options with which a run goes on.

    given: the names of the options that the command line gives. settings: the settings that it gives. Raises
    InputError, ConfigError (a setting differs from the run's), CorruptCache.
    """
    out = options.out
    refuse_taken(out, resume=True)
    info = RunInfo.read(out)
    if info.stage_2:
        raise InputError(
            f"--resume {out}: it is a run of `fdet retrain-classifier`; repeat that command with --resume"
        )
    config = continued(out, info.config, settings)
    options = completed(options, given)
    return config, replace(options, extend=config != info.config)


def completed(options: TrainOptions, given: Collection[str]) -> TrainOptions:
    """Return the options with those of the run in place of what the command line does not give."""
    out = options.out
    kept = {k: v for k, v in read_options(out).items() if k not in given}
    values = {name: _value(out, name, value) for name, value in kept.items()}
    for name, value in values.items():
        for path in value if name in CACHES else [value] if name in (*PLACES, *PATHS) else []:
            _check_there(out, name, path)
    options = replace(options, **values)
    if not options.caches:
        raise InputError(
            f"--resume {out}: the run does not state where its caches are; give them: `fdet train-heads "
            f"CACHE --val CACHE --resume {out}`"
        )
    return options


def continued(out: Path, kept: RunConfig, given: GivenSettings) -> RunConfig:
    """Return the settings of a run that goes on, with more epochs where those are given.

    Raises ConfigError for settings that are unknown, or differ from the run's.
    """
    values, own = dict(given.values), kept.to_mapping()
    with given.named():
        for section in ("neck", "head"):
            name = _mapping(values.get(section)).get("name", own[section]["name"])
            if name != own[section]["name"]:
                # The settings of another neck or head are checked against that one.
                raise _differ(out, f"{section}.name was {own[section]['name']}, is {name}")
        merged = {
            section: {**own.get(section, {}), **mine} if isinstance(mine, Mapping) else mine
            for section, mine in values.items()
        }
        config = RunConfig.from_mapping({**own, **merged}).adopting(kept)
    if config != kept and not is_longer(kept, config):
        raise _differ(out, changed_settings(kept, config))
    return config


def _differ(out: Path, changes: str) -> ConfigError:
    return ConfigError(
        f"--resume {out}: settings differ from the run's: {changes}; leave them out, as a run goes on "
        "with its own (only train.epochs may grow), or start a new --out"
    )


def _check_there(out: Path, name: str, path: Path) -> None:
    """Raise InputError where a path that the run states is not there any more."""
    if isinstance(path, ObjectPath) or path.exists():
        return
    flag = _FLAGS.get(name, flag_of(name))
    words = "CACHE" if flag == "CACHE" else f"{flag} PATH"
    raise InputError(
        f"--resume {out}: {path} is not there any more ({flag} of the run); give it where it is now: `fdet "
        f"train-heads {words} --resume {out}`"
    )


def _value(out: Path, name: str, value: Any) -> Any:
    """Return a value of options.json as TrainOptions has it. Raises CorruptCache."""
    if name in CACHES and isinstance(value, list):
        return tuple(map(located, value))
    if name in LISTS and isinstance(value, list):
        return tuple(value)
    if name in COUNTS and isinstance(value, int):
        return value
    if isinstance(value, str) and name in (*PLACES, *PATHS, *TEXTS):
        return located(value) if name in PLACES else Path(value) if name in PATHS else value
    raise CorruptCache(
        f"{out / NAME}: {name}: expected what fdet writes there; remove the file, and give the options again"
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _absolute(path: Path) -> str:
    return str(path if isinstance(path, ObjectPath) else path.absolute())
