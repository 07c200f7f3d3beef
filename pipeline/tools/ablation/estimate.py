"""Estimates of a trial's time from a few of its steps: reading, a step of the head, an evaluated image."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median

import torch

from ....cache.errors import FdetError
from ....cache.sampler import plain_batches
from ...evaluation.detecting import detect
from ...machines.devices import use_threads
from ...machines.progress import progress_line
from ...runs.config import RunConfig, fixed
from ...sources.batches import Batch
from ...sources.data import Data
from ...training.data import trained_backbone
from ...training.probe import first_batches, fresh_model
from ...training.step import parts_of
from ...training.train import begin
from .trials import Opened, Trial

# The first step warms up and is not counted.
STEPS = 4


@dataclass(frozen=True, slots=True)
class Cost:
    """The costs of a trial in seconds.

    reading: the time to read and decode the samples of a step. step: the time of the step itself. image: the
    time of an evaluated image.
    """

    reading: float
    step: float
    image: float

    def seconds(self, trial: Trial, val_images: int) -> float:
        """Return the seconds of a whole trial that runs alone, without the start of its process."""
        train = trial.config.train
        evaluations = -(-fixed(train.epochs) // fixed(train.eval_every))
        evaluations = min(trial.steps, evaluations)
        return (self.reading + self.step) * trial.steps + self.image * val_images * evaluations


class Costs:
    """The costs of trials, measured once for all that differ in nothing that a step's time depends on."""

    def __init__(self, opened: Opened, threads: int | None) -> None:
        self.opened, self._known = opened, dict[object, Cost]()
        use_threads(threads)

    def of(self, trial: Trial) -> Cost:
        """Return the cost of a trial. Raises FdetError where not even its first steps can be made."""
        key = _key(trial)
        if key not in self._known:
            data, val = self.opened.of(trial.caches, trial.config)
            try:
                self._known[key] = _measured(trial, data, val, self.opened)
            except (MemoryError, torch.OutOfMemoryError) as error:
                raise FdetError(f"{trial.name}: out of memory in its first steps") from error
        return self._known[key]

    def seconds(self, trials: Sequence[Trial]) -> list[float]:
        """Return the seconds of each trial, and show a progress line meanwhile."""
        found = []
        with progress_line("measure", len({_key(trial) for trial in trials})) as progress:
            for trial in trials:
                known = len(self._known)
                _, val = self.opened.of(trial.caches, trial.config)
                found.append(self.of(trial).seconds(trial, len(val.image_ids)))
                progress.note(trial.name)
                progress.advance(len(self._known) - known)
        return found


def _key(trial: Trial) -> object:
    """Return a key of everything that a step's time depends on."""
    plain, train = RunConfig(), trial.config.train
    names = ("batch_size", "accumulate", "precision", "average", "compile", "channels_last")
    kept = {name: getattr(train, name) for name in (*names, "checkpoint_activations")}
    config = replace(trial.config, train=replace(plain.train, **kept), schedule=plain.schedule)
    config = replace(config, optim=replace(plain.optim, name=config.optim.name))
    return trial.caches, replace(config, head=replace(config.head, normaliser=1.0))


def _measured(trial: Trial, data: Data, val: Data, opened: Opened) -> Cost:
    config, processes = trial.config, opened.processes
    options = trial.caches.options(Path())
    backbone = trained_backbone(config, options, data.header, processes.device)
    model = fresh_model(config, data, processes.device, backbone)
    stepper, _ = begin(config, model, processes)
    model.train()
    batches = first_batches(config, data, STEPS)
    owned = [parts_of(batch, 1, 0, config.train.accumulate) for batch in batches]
    loaded = list(_decoded(data, owned[0], opened))
    started = time.perf_counter()
    loaded += _decoded(data, [part for parts in owned[1:] for part in parts], opened)
    reading = (time.perf_counter() - started) / (STEPS - 1)
    seconds, parts = [], iter(loaded)
    for number, (batch, own) in enumerate(zip(batches, owned, strict=True)):
        started = time.perf_counter()
        done = stepper.step([next(parts) for _ in own], len(batch), number, len(batches))
        _wait_for(done.losses.values())
        seconds.append(time.perf_counter() - started)
    model.eval()
    samples = plain_batches(val.header.layout, val.image_ids, config.train.batch_size)[:1]
    started = time.perf_counter()
    detect(model.detector, val.source, samples, config.train.precision, shown=False)
    image = (time.perf_counter() - started) / len(samples[0])
    return Cost(reading, median(seconds[1:]), image)


def _decoded(data: Data, parts: list[list[tuple[int, int]]], opened: Opened) -> Iterator[Batch]:
    for batch in data.batches(parts, opened.processes.device, 0.0):
        made = replace(batch, pyramid=cache(batch.pyramid))
        _wait_for(x.flatten()[0] for x in made.pyramid().maps)
        yield made


def _wait_for(values: object) -> None:
    """Wait until an accelerator has computed the values, by reading each of them on the host."""
    for value in values:  # type: ignore[attr-defined]
        float(value)
