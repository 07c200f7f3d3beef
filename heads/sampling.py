"""Which anchors or RoIs train an image's loss: drawn by a generator that is that image's own."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor


def balanced(
    labels: Tensor, count: int, positive_share: float, generator: Random
) -> tuple[Tensor, Tensor]:
    """Indices of positives (labels >= 1), at most that share of `count`, and of negatives (0) to fill up.

    Drawn on the host, so that the draw is the same on every device, and by Python's generator: its
    cost is that of the few that are drawn, where a permutation's is that of all anchors, and it
    takes the whole of a seed, where torch's takes 32 bits.
    """
    positive = torch.where(labels >= 1)[0]
    negative = torch.where(labels == 0)[0]
    positive = some(positive, int(count * positive_share), generator)
    return positive, some(negative, count - len(positive), generator)


def some(indices: Tensor, count: int, generator: Random) -> Tensor:
    """At most `count` of indices (N,), in the order in which they are drawn."""
    drawn = generator.sample(range(len(indices)), min(count, len(indices)))
    return indices[torch.tensor(drawn, dtype=torch.int64, device=indices.device)]
