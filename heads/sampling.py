"""Random choice of the anchors or RoIs that train an image's loss, by a separate generator for each image."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor


def balanced(
    labels: Tensor, count: int, positive_share: float, generator: Random
) -> tuple[Tensor, Tensor]:
    """Return the indices of sampled positives and of sampled negatives.

    Positives have labels >= 1 and are at most that share of `count`; negatives have label 0 and fill up the
    rest. Sampling runs on the host, so that it is the same on every device, and with Python's generator:
    its cost depends on the few indices that are drawn, where a permutation's depends on all anchors, and it
    uses the whole of a seed, where torch's uses 32 bits.
    """
    positive = torch.where(labels >= 1)[0]
    negative = torch.where(labels == 0)[0]
    positive = some(positive, int(count * positive_share), generator)
    return positive, some(negative, count - len(positive), generator)


def some(indices: Tensor, count: int, generator: Random) -> Tensor:
    """Return at most `count` of the indices (N,), in the order in which they are drawn."""
    drawn = generator.sample(range(len(indices)), min(count, len(indices)))
    return indices[torch.tensor(drawn, dtype=torch.int64, device=indices.device)]
