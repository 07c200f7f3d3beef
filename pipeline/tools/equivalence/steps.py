"""A few training steps from the same fresh weights, and how far two sources lead apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ....cache.errors import InputError
from ....cache.format.header import CacheHeader
from ...runs.config import RunConfig, load_config
from ...training.probe import Trained

# Differing bits show in a small detector as well as in a large one.
_SMALL = ("neck.channels=64", "train.batch_size=4")


@dataclass(frozen=True, slots=True)
class TrainingDistance:
    """How far two trainings are apart.

    exact: whether they agree in every bit. loss: the largest difference of a loss, as a share of its step's
    total. weights: the distance of the weights, as a share of the distance that training moved them.
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
    """Return the configuration of a small detector on all levels of a cache, or that of a given file.

    Raises ConfigError, InputError.
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
    return _in_fp32(config)


def _in_fp32(config: RunConfig) -> RunConfig:
    """Return the configuration in fp32 unless it asks for another precision, since bits are compared."""
    if config.train.precision != "auto":
        return config
    return replace(config, train=replace(config.train, precision="fp32"))


def training_distance(
    one: Trained, other: Trained, before: Mapping[str, Tensor]
) -> TrainingDistance:
    """Return how far two trainings are apart. before: the weights that both began with."""
    same = all(torch.equal(one.weights[n], w) for n, w in other.weights.items())
    moved, distance = _distance(other.weights, before), _distance(one.weights, other.weights)
    return TrainingDistance(
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
