"""A few training steps from the same fresh weights: what they come to with one source and another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

import torch
from torch import Tensor

from ....cache.errors import InputError
from ....cache.format.header import CacheHeader
from ....cache.sampler import SampleId
from ...machines.processes import Processes
from ...machines.progress import ProgressLine
from ...machines.world import World
from ...runs.config import RunConfig, load_config
from ...runs.model import Model, fresh_detector
from ...sources.data import Data
from ...sources.epochs import sampler_of
from ...training.step import parts_of
from ...training.train import begin

# Bits show in a small detector as well as in a large one.
_SMALL = ("neck.channels=64", "train.batch_size=4")


@dataclass(frozen=True, slots=True)
class Trained:
    """losses: of each step, by name. weights: afterwards, on the CPU."""

    losses: tuple[Mapping[str, float], ...]
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Apart:
    """How far two trainings are apart. exact: not at all. loss: the largest difference of a loss, as a
    share of its step's total; weights: as a share of the way that training moved them.
    """

    exact: bool
    loss: float
    weights: float

    def __str__(self) -> str:
        if self.exact:
            return "the same bits"
        return (
            f"losses {self.loss:.2g} of a step's total apart, weights {self.weights:.2g} of the way "
            "they moved"
        )


def steps_config(cache: Path, path: Path | None, assignments: Sequence[str]) -> RunConfig:
    """Of a small detector above all levels of a cache, unless a file of settings is given. Raises
    ConfigError, InputError.
    """
    if path is not None:
        config = load_config(path, assignments=assignments)
    else:
        finest = CacheHeader.read(cache).key.levels.strides[0]
        above_all = f"neck.min_level={round(math.log2(finest))}"
        config = load_config(assignments=[*_SMALL, above_all, *assignments])
    if config.backbone.adapters:
        raise InputError(
            "backbone.adapters: cached maps have not passed through adapters, so nothing can be compared; "
            "add --set backbone.adapters=false"
        )
    return _exactly(config)


def _exactly(config: RunConfig) -> RunConfig:
    """In fp32 unless another precision is asked for: what is asked is whether bits agree."""
    if config.train.precision != "auto":
        return config
    return replace(config, train=replace(config.train, precision="fp32"))


def first_batches(config: RunConfig, data: Data, steps: int) -> list[list[SampleId]]:
    """Those that a run begins with; epoch after epoch."""
    sampler = sampler_of(data, config.train)
    return list(islice((batch for epoch in count() for batch in sampler.batches(epoch)), steps))


def train_steps(
    config: RunConfig,
    model: Model,
    data: Data,
    batches: Sequence[Sequence[SampleId]],
    progress: ProgressLine,
) -> Trained:
    """A step of `model` for each batch; nothing is written."""
    device = next(model.parameters()).device
    stepper, _ = begin(config, model, Processes(World(), device))
    model.train()
    owned = [parts_of(batch, 1, 0, config.train.accumulate) for batch in batches]
    parts = [part for parts in owned for part in parts]
    loaded = data.batches(parts, device, config.train.min_visible)
    losses = []
    for number, (batch, own) in enumerate(zip(batches, owned, strict=True)):
        done = stepper.step(islice(loaded, len(own)), len(batch), number, len(batches))
        losses.append({name: float(loss) for name, loss in done.losses.items()})
        progress.note(f"{progress.rate:.1f} steps/s")
        progress.advance()
    return Trained(tuple(losses), weights_of(model))


def fresh_model(config: RunConfig, data: Data, device: torch.device) -> Model:
    """With the weights that a run of this configuration begins with. Raises ConfigError."""
    levels, classes = data.header.key.levels, len(data.annotations.class_ids)
    return Model(fresh_detector(config, levels, classes)).to(device)


def weights_of(model: Model) -> dict[str, Tensor]:
    """A copy on the CPU."""
    return {name: w.detach().cpu().clone() for name, w in model.tensors().items()}


def apart(one: Trained, other: Trained, before: Mapping[str, Tensor]) -> Apart:
    """before: the weights that both began with."""
    same = all(torch.equal(one.weights[n], w) for n, w in other.weights.items())
    moved, distance = _distance(other.weights, before), _distance(one.weights, other.weights)
    return Apart(
        exact=same and one.losses == other.losses,
        loss=max(map(_losses_apart, one.losses, other.losses)),
        weights=distance / moved if moved else distance and float("inf"),
    )


def _losses_apart(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    if not all(map(math.isfinite, (*one.values(), *other.values()))):
        return math.inf
    largest = max(abs(one[name] - loss) for name, loss in other.items())
    return largest / max(abs(sum(other.values())), 1e-30)


def _distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    squares = [(one[n].double() - w.double()).square().sum() for n, w in other.items()]
    return float(torch.stack(squares).sum().sqrt())
