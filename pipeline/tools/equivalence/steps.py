"""A few training steps from the same fresh weights, and how far two sources lead apart."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...training.probe import Trained

# The start of the names of a backbone's weights in a model with a tail, and in one with the whole backbone.
_CUT, _WHOLE = "backbone.net.net.", "backbone.net."


@dataclass(frozen=True, slots=True)
class TrainingDistance:
    """The distance between two trainings.

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


def without_cut(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with those of a tail under the names that they have in the whole backbone."""
    return {name.replace(_CUT, _WHOLE, 1): w for name, w in weights.items()}


def shared_part(whole: Trained, names: Collection[str]) -> Trained:
    """Return a training with the weights of these names alone."""
    return replace(whole, weights={n: w for n, w in whole.weights.items() if n in names})


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
