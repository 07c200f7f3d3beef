"""The length of a training that has to end in time: its epochs and evaluations, and at worst fewer images."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .ladder import Costs, Work, length_within

# Fewer steps than this make no detector.
FEWEST_STEPS = 200


@dataclass(frozen=True, slots=True)
class Length:
    """The length of a training.

    eval_every: the epochs between evaluations. fraction: the share of all images that it is cut to, None
    where an epoch has all images that the settings leave it.
    """

    epochs: int
    eval_every: int
    fraction: float | None = None

    @property
    def assignments(self) -> list[str]:
        """The settings for it."""
        some = [] if self.fraction is None else [f"train.fraction={self.fraction:g}"]
        return [f"train.epochs={self.epochs}", f"train.eval_every={self.eval_every}", *some]

    def steps(self, work: Work) -> float:
        """Return the number of steps."""
        share = work.trained if self.fraction is None else self.fraction * work.images
        return self.epochs * share / work.batch_size


def length_for(costs: Costs, work: Work, seconds: float) -> Length:
    """Return the length of a training that takes so many seconds, evaluations included.

    It has at least FEWEST_STEPS steps, however long these take.
    """
    steps, evaluations = length_within(costs, seconds)
    epochs = max(steps, FEWEST_STEPS) * work.batch_size / work.trained
    if epochs < 1:
        return Length(1, 1, max(round(epochs * work.trained / work.images, 4), 1e-4))
    least = math.ceil(FEWEST_STEPS * work.batch_size / work.trained)
    whole = min(max(int(epochs), least), work.maximum_epochs)
    return Length(whole, max(1, round(whole / evaluations)))
