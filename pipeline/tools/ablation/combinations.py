"""The combinations of a plan's choices: the caches and settings of each, and what is wrong with them.

Imports no torch, so that a plan can be refused before that is loaded.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import Any

from ....cache.errors import ConfigError, FdetError, InputError
from ....cache.wording import counted
from ...runs.config import RunConfig
from ...sources.kinds import CACHED, SOURCES
from ...training.options import TrainOptions
from .plan import PATHS, Choice, Plan, merged

log = logging.getLogger(__name__)

# Nobody waits for more trials than this; mode "random" draws fewer of them.
MOST = 10_000
_MAX_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Caches:
    """The caches for training and validation, and the annotations where they are not the caches' own.

    start: the run whose weights a trial begins with. source: how the maps are used. weights: the weights of
    the backbone, for a tail.
    """

    cache: Path
    val: Path
    annotations: Path | None = None
    val_annotations: Path | None = None
    start: Path | None = None
    source: str = CACHED
    weights: str | None = None

    @property
    def paths(self) -> dict[str, Path]:
        """The paths that are given, by name."""
        return {name: path for name in PATHS if (path := getattr(self, name)) is not None}

    def options(self, out: Path, **more: Any) -> TrainOptions:
        """Return the options of a run on these caches."""
        given = {**self.paths, "source": self.source, "out": out, **more}
        if SOURCES[self.source].runs_backbone:
            given["weights"] = self.weights
        return TrainOptions(**given)


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


def labels_of(plan: Plan, choices: Sequence[Choice]) -> dict[str, str]:
    """Return the labels of a combination, by axis."""
    return dict(zip(plan.axes, (choice.label for choice in choices), strict=True))


def caches_of(plan: Plan, choices: Sequence[Choice]) -> Caches:
    """Return the caches of a combination. Raises InputError where one is not given."""
    paths, source = dict(plan.paths), plan.source
    for choice in choices:
        paths |= choice.paths
        source = choice.source or source
    for name in ("cache", "val"):
        if name not in paths:
            raise InputError(f"--{name}: expected in the plan or on the command line")
    return Caches(**paths, source=source, weights=plan.weights)


def asked_config(plan: Plan, choices: Sequence[Choice], seed: int) -> RunConfig:
    """Return the settings of a combination as the plan has them. Raises ConfigError."""
    values = merged(plan.base, [choice.sections for choice in choices])
    return RunConfig.from_mapping(merged(values, [{"train": {"seed": seed}}]))


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of the trials of a plan.

    count: the number of all trials. of: the trials with the same fault, by its message.
    """

    count: int
    of: dict[str, list[str]] = field(default_factory=dict)

    @contextmanager
    def noted(self, choices: Sequence[Choice]) -> Iterator[None]:
        """Note an FdetError that is raised within the block as a fault of that combination."""
        try:
            yield
        except FdetError as error:
            name = ", ".join(choice.label for choice in choices) or "base"
            self.of.setdefault(str(error), []).append(name)

    def refuse(self) -> None:
        """Raise ConfigError where there is a fault; several are also logged line by line."""
        messages = [f"{who[0]}{_others(len(who))}: {why}" for why, who in self.of.items()]
        if not messages:
            return
        if len(messages) == 1:
            raise ConfigError(f"nothing was run: {messages[0]}")
        for line in messages[:_MAX_SHOWN]:
            log.error("%s", line)
        bad = sum(map(len, self.of.values()))
        raise ConfigError(
            f"nothing was run: {bad} of {self.count} trials are impossible, for "
            f"{counted(len(messages), 'reason')}: " + " | ".join(messages[:_MAX_SHOWN])
        )


def _others(count: int) -> str:
    return f" and {counted(count - 1, 'other')}" if count > 1 else ""
