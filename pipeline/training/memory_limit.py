"""--memory-limit: how a batch is split so that training fits into memory, found by trials, not by guessing.

The peak memory of a process that trains on a cache consists of

    the interpreter, torch, the tables of the cache and the annotations
    weights x (1, gradients 1, AdamW's state 2 or SGD's 1, a moving average 1)
    the activations of one micro-batch, from its decoded maps to the losses
    micro-batches in their stored form: `prefetch` that wait, one in use, one that replaces it
    resident samples, where there are any

The backbone plays no part in it, nor does the number of epochs, nor that of images except for the tables.
A checkpoint is serialised in memory: all that there is for each weight, except the gradients, takes its
space once more, but the activations are gone by then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...cache.disk.sizes import format_bytes
from ...cache.errors import InputError
from ..machines.processes import Processes
from ..runs.config import RunConfig
from ..runs.info import RunInfo
from .options import TrainOptions
from .trial import Trial, peak_of

log = logging.getLogger(__name__)

# A long run's peak is a little above that of its first steps.
SPARE = 1.05
_LIMIT, _PEAK = "memory limit", "trial peak"

# Returns the peak of a configuration in bytes, or None where it exceeded what the second argument allows.
Measure = Callable[[RunConfig, int | None], int | None]


@dataclass(frozen=True, slots=True)
class Fit:
    """How a batch is split to stay within `limit` bytes, and the `peak` of the trial that proved it."""

    accumulate: int
    checkpoint_activations: bool
    limit: int
    peak: int

    @property
    def room(self) -> int:
        """The number of bytes that resident samples may take in addition."""
        return max(0, int(self.limit / SPARE) - self.peak)

    def applied(self, config: RunConfig) -> RunConfig:
        """Return the configuration that is run."""
        return _way(config, self.accumulate, self.checkpoint_activations)

    def described(self, config: RunConfig, processes: int, resident: bool) -> str:
        """Return the choice in a line."""
        return (
            f"memory limit {format_bytes(self.limit)}: {_described_way(self.applied(config), processes)}, "
            f"samples {'' if resident else 'not '}resident; a trial step took {format_bytes(self.peak)}"
        )

    def to_data(self) -> dict[str, str]:
        """Return what run.json keeps in addition to the settings."""
        return {_LIMIT: str(self.limit), _PEAK: str(self.peak)}

    @classmethod
    def of_run(cls, run: Path, limit: int) -> Fit:
        """Return the choice of a run that was started before. Raises InputError where it has none."""
        info = RunInfo.read(run)
        if not info.data.get(_PEAK, "").isdecimal():
            raise InputError(f"--resume: {run} was started without --memory-limit; leave it out")
        train = info.config.train
        return cls(train.accumulate, train.checkpoint_activations, limit, int(info.data[_PEAK]))


def find_fit(
    config: RunConfig, options: TrainOptions, processes: Processes, trial: Trial
) -> Fit | None:
    """Find how a batch is split to fit into the limit; return None where there is no limit.

    With --resume it is what the run was started with, otherwise it is found by trials. The limit holds for
    each process; the first one runs the trials, and all take its choice. Raises InputError where nothing
    fits.
    """
    limit, size = options.memory_limit, processes.world.size
    if limit is None:
        return None
    if options.resume:
        return Fit.of_run(options.out, limit)

    def measure(way: RunConfig, allowed: int | None) -> int | None:
        peak = peak_of(trial, way, options, processes, allowed)
        outcome = "too much" if peak is None else format_bytes(peak)
        log.info("trial: %s: %s", _described_way(way, size), outcome)
        return peak

    return processes.by_first(lambda: choose(ways(config, size), measure, limit, size))


def ways(config: RunConfig, processes: int = 1) -> list[list[RunConfig]]:
    """Return families of ways to do the same step, the cheapest first; within one, each needs less memory.

    The first family has ever smaller micro-batches, the next one the same with activations checkpointed.
    """
    train = config.train
    maximum = max(train.accumulate, -(-train.batch_size // processes))
    counts = [train.accumulate]
    while counts[-1] < maximum:
        counts.append(min(maximum, 2 * counts[-1]))
    choices = [True] if train.checkpoint_activations else [False, True]
    return [[_way(config, count, checkpointed) for count in counts] for checkpointed in choices]


def choose(
    families: Sequence[Sequence[RunConfig]], measure: Measure, limit: int, processes: int = 1
) -> Fit:
    """Find the cheapest way that a trial has shown to fit, with as few trials as that takes.

    Raises InputError where none fits; its message states what the most frugal way needs.
    """
    allowed = int(limit / SPARE)
    for family in families:
        found = _first_that_fits(family, measure, allowed)
        if found is not None:
            way, peak = found
            return Fit(way.train.accumulate, way.train.checkpoint_activations, limit, peak)
    last = families[-1][-1]
    needed = measure(last, None)
    minimum = "more than this machine has" if needed is None else format_bytes(needed * SPARE)
    raise InputError(
        f"--memory-limit {format_bytes(limit)}: {_described_way(last, processes)} still needs {minimum}; "
        "allow that, or train less: a smaller neck or head, or fewer stages of a backbone that is trained"
    )


def _first_that_fits(
    family: Sequence[RunConfig], measure: Measure, allowed: int
) -> tuple[RunConfig, int] | None:
    """Return the first way of a family that fits, and its peak; None where none does.

    The first way is tried, then the last one, then those between: no more trials than a bisection takes.
    """

    def fitting(number: int) -> int | None:
        peak = measure(family[number], allowed)
        return None if peak is None or peak > allowed else peak

    if (peak := fitting(0)) is not None:
        return family[0], peak
    if len(family) == 1 or (peak := fitting(len(family) - 1)) is None:
        return None
    found, above, below = peak, 0, len(family) - 1
    while below - above > 1:
        middle = (above + below) // 2
        if (peak := fitting(middle)) is None:
            above = middle
        else:
            found, below = peak, middle
    return family[below], found


def _way(config: RunConfig, accumulate: int, checkpointed: bool) -> RunConfig:
    train = replace(config.train, accumulate=accumulate, checkpoint_activations=checkpointed)
    return replace(config, train=train)


def _described_way(config: RunConfig, processes: int) -> str:
    train = config.train
    size = -(-train.batch_size // (train.accumulate * processes))
    count = f"{train.accumulate} micro-batches" if train.accumulate > 1 else "1 micro-batch"
    return f"{count} of {size}, activations {'' if train.checkpoint_activations else 'not '}checkpointed"
