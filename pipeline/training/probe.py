"""A few training steps of a fresh model, of which nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice

import torch
from torch import Tensor

from ...cache.sampler import SampleId
from ..machines.processes import Processes
from ..machines.progress import ProgressLine
from ..machines.world import World
from ..runs.config import RunConfig
from ..runs.model import Model, OwnBackbone, fresh_detector
from ..sources.data import Data
from ..sources.epochs import sampler_of
from .step import parts_of
from .train import begin


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a few training steps.

    losses: the losses of each step, by name. weights: the weights afterwards, on the CPU.
    """

    losses: tuple[Mapping[str, float], ...]
    weights: Mapping[str, Tensor]


def first_batches(config: RunConfig, data: Data, steps: int) -> list[list[SampleId]]:
    """Return the batches that a run begins with, epoch after epoch."""
    sampler = sampler_of(data, config.train)
    return list(islice((batch for epoch in count() for batch in sampler.batches(epoch)), steps))


def train_steps(
    config: RunConfig,
    model: Model,
    data: Data,
    batches: Sequence[Sequence[SampleId]],
    progress: ProgressLine,
) -> Trained:
    """Train `model` by a step for each batch; nothing is written."""
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
        progress.advance(unit="steps/s")
    return Trained(tuple(losses), weights_of(model))


def fresh_model(
    config: RunConfig, data: Data, device: torch.device, backbone: OwnBackbone | None = None
) -> Model:
    """Return a model with the weights that a run of this configuration begins with. Raises ConfigError."""
    levels = backbone.spec if backbone is not None else data.header.key.levels
    detector = fresh_detector(config, levels, len(data.annotations.class_ids))
    return Model(detector, backbone).to(device)


def weights_of(model: Model) -> dict[str, Tensor]:
    """Return a copy of the model's weights on the CPU."""
    return {name: w.detach().cpu().clone() for name, w in model.tensors().items()}
