"""The trials of a plan, checked: their settings fit their caches, and no trial appears twice."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import Any

import torch

from ....cache.errors import ConfigError, FdetError, InputError
from ....cache.format.header import CacheHeader
from ....cache.format.sealed import digest
from ...dataset.long_tail import frequencies
from ...machines.processes import Processes
from ...runs.config import RunConfig
from ...runs.info import RunInfo
from ...sources.data import Data
from ...sources.epochs import sampler_of
from ...training.auto import settled
from ...training.data import chosen, open_data
from ...training.options import TrainOptions
from ...training.train import check_settings
from .plan import PATHS, Choice, Plan, merged

log = logging.getLogger(__name__)

# Nobody waits for more trials than this; mode "random" draws fewer of them.
MOST = 10_000
_MAX_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Caches:
    """The caches for training and validation, and the annotations where they are not the caches' own."""

    cache: Path
    val: Path
    annotations: Path | None = None
    val_annotations: Path | None = None

    @property
    def paths(self) -> dict[str, Path]:
        """The paths that are given, by name."""
        return {name: path for name in PATHS if (path := getattr(self, name)) is not None}

    def options(self, out: Path, **more: Any) -> TrainOptions:
        """Return the options of a run on these caches."""
        return TrainOptions(**{**self.paths, "out": out, **more})


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial of a plan.

    labels: the labels of its choices, by axis. asked: the settings as the plan has them. config: the same
    with a value in place of every "auto". digest: the digest of `asked`, caches and annotations. trained:
    the number of the detector's trained parameters. total: that number plus the backbone's parameters.
    """

    labels: Mapping[str, str]
    asked: RunConfig
    config: RunConfig
    caches: Caches
    digest: str
    steps: int
    trained: int
    total: int

    @property
    def id(self) -> str:
        return self.digest[:12]

    @property
    def seed(self) -> int:
        return self.config.train.seed

    @property
    def name(self) -> str:
        """A text such as `fcos, optim.lr 0.001, seed 0`."""
        words = [v if "." not in axis else f"{axis} {v}" for axis, v in self.labels.items()]
        return ", ".join([*words, f"seed {self.seed}"])


@dataclass
class Opened:
    """The training and validation data of a plan's caches, opened once; samples do not stay in memory."""

    processes: Processes
    _data: dict[tuple[Caches, bool], tuple[Data, Data]] = field(default_factory=dict)
    _parameters: dict[object, int] = field(default_factory=dict)

    def of(self, caches: Caches, config: RunConfig) -> tuple[Data, Data]:
        """Return the data of the caches. Raises what opening raises, KeyMismatch where they do not pair."""
        key = (caches, config.masks)
        if key not in self._data:
            options = caches.options(Path(), resident="none")
            header = CacheHeader.read(caches.cache)
            data, val = open_data(config, options, header, None, self.processes)
            assert val is not None
            info = _info(config, data)
            info.check_pairs(val.header, val.name)
            info.check_classes(val.annotations, f"validation annotations of {val.name}")
            self._data[key] = data, val
        return self._data[key]

    def trained(self, config: RunConfig, data: Data) -> int:
        """Return the number of trained parameters. Raises ConfigError where the cache lacks a level."""
        key = (config.neck, config.head, data.header.key.levels, data.annotations.class_ids)
        if key not in self._parameters:
            with torch.device("meta"):
                self._parameters[key] = _info(config, data).fresh_detector().trained_parameters
        return self._parameters[key]


def _info(config: RunConfig, data: Data) -> RunInfo:
    return RunInfo(
        key=data.header.key,
        class_ids=data.annotations.class_ids,
        class_names=data.annotations.class_names,
        frequencies=frequencies(data.annotations),
        config=config,
        backbone_parameters=int(data.header.backbone["parameters"]),
        data={"source": "cached"},
    )


def trials_of(plan: Plan, opened: Opened) -> list[Trial]:
    """Return the trials in the order in which they run, seed after seed.

    Raises ConfigError where one of them is impossible; several reasons are also logged line by line.
    """
    combinations = [(seed, choices) for seed in plan.seeds for choices in combinations_of(plan)]
    found: dict[str, Trial] = {}
    faults: dict[str, list[str]] = {}
    for seed, choices in combinations:
        labels = dict(zip(plan.axes, (choice.label for choice in choices), strict=True))
        try:
            trial = _trial(plan, labels, choices, seed, opened)
        except FdetError as error:
            faults.setdefault(str(error), []).append(", ".join(labels.values()) or "base")
        else:
            found.setdefault(trial.digest, trial)
    _refuse(faults, len(combinations))
    return list(found.values())


def combinations_of(plan: Plan) -> Iterator[tuple[Choice, ...]]:
    """Yield combinations, each a choice of every axis: all, or in mode "random" the first `budget` drawn.

    Each is drawn once, and a larger budget goes on where a smaller one ended. Raises ConfigError for more
    than MOST trials.
    """
    axes = list(plan.axes.values())
    count = math.prod(map(len, axes))
    wanted = min(plan.budget, count) if plan.mode == "random" else count
    if wanted * len(plan.seeds) > MOST:
        raise ConfigError(
            f"{wanted * len(plan.seeds)} trials are more than {MOST}; set mode = 'random' and a budget"
        )
    if plan.mode != "random":
        yield from product(*axes)
        return
    for number in islice(_drawn(count, plan.random_seed), wanted):
        choices = []
        for axis in reversed(axes):
            number, index = divmod(number, len(axis))
            choices.append(axis[index])
        yield tuple(reversed(choices))


def _drawn(count: int, seed: int) -> Iterator[int]:
    """Yield the numbers below `count` in random order, each once."""
    generator, seen = random.Random(seed), set[int]()
    while len(seen) < count:
        number = generator.randrange(count)
        if number not in seen:
            seen.add(number)
            yield number


def _trial(
    plan: Plan, labels: Mapping[str, str], choices: Sequence[Choice], seed: int, opened: Opened
) -> Trial:
    paths = dict(plan.paths)
    for choice in choices:
        paths |= choice.paths
    for name in ("cache", "val"):
        if name not in paths:
            raise InputError(f"--{name}: expected in the plan or on the command line")
    caches = Caches(**paths)
    values = merged(plan.base, [choice.sections for choice in choices])
    values = merged(values, [{"train": {"seed": seed}}])
    asked = RunConfig.from_mapping(values)
    data, val = opened.of(caches, asked)
    check_settings(asked, caches.options(Path()), opened.processes)
    used = chosen(asked, data)
    # Settings as asked for make the digest the same on every machine, whatever "auto" gives there.
    content = {"config": asked.digest, "train": data.fingerprint, "val": val.fingerprint}
    config = settled(asked, used, opened.processes.device)
    trained = opened.trained(config, data)
    return Trial(
        labels,
        asked,
        config,
        caches,
        digest(content),
        sampler_of(used, config.train).steps,
        trained,
        trained + int(data.header.backbone["parameters"]),
    )


def _refuse(faults: Mapping[str, Sequence[str]], count: int) -> None:
    if not faults:
        return
    messages = [f"{who[0]}{_others(len(who))}: {why}" for why, who in faults.items()]
    if len(messages) == 1:
        raise ConfigError(f"nothing was run: {messages[0]}")
    for line in messages[:_MAX_SHOWN]:
        log.error("%s", line)
    bad = sum(map(len, faults.values()))
    raise ConfigError(
        f"nothing was run: {bad} of {count} trials are impossible, for {len(messages)} reasons: "
        + " | ".join(messages[:_MAX_SHOWN])
    )


def _others(count: int) -> str:
    return f" and {count - 1} others" if count > 1 else ""


def comparable(trial: Trial, trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials whose evaluations compare with this one's: the same caches and as many epochs."""
    epochs = trial.config.train.epochs
    return [t for t in trials if (t.caches, t.config.train.epochs) == (trial.caches, epochs)]
