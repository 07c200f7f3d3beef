"""Classes that few images show: how much each weighs in a loss, and which ones count for an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor

from .types import Targets


def class_weights(images: Tensor, beta: float) -> Tensor:
    """(K,): 1 over the effective number of samples (Cui et al., arXiv 1901.05555, equation 3),
    (1 - beta) / (1 - beta^n) for a class that n training images show, scaled so that the mean over
    the classes is 1. images: (K,), n of each; a class that none shows takes no part and has weight 1.
    """
    there = images > 0
    # 1 - beta^n without rounding, where beta is all but 1; what does not hang on n is scaled away.
    logarithm = math.log(beta) if beta else -math.inf
    weights = torch.where(there, -1 / torch.expm1(images.clamp(min=1) * logarithm), 0)
    return torch.where(there, weights * there.sum() / weights.sum().clamp(min=1e-12), 1)


def label_weights(targets: Sequence[Targets], labels: Tensor, beta: float) -> Tensor:
    """(...): the weight of each label 0..K-1, and 1 for background, -1. All 1 where beta is 0.

    Raises ValueError where a beta needs to know how many images show each class.
    """
    if not beta:
        return torch.ones_like(labels, dtype=torch.float32)
    images = targets[0].class_images
    if images is None:
        raise ValueError("head.class_balance weighs classes: expected targets with class_images")
    weights = class_weights(images, beta)
    return torch.cat([weights, weights.new_ones(1)])[labels]


def federated_classes(
    targets: Sequence[Targets], seeds: Sequence[int], count: int
) -> Tensor | None:
    """(B, K) bool: the classes that an image's loss knows of, None for all, where count is 0.

    Federated loss (Zhou et al., arXiv 2103.07461, section 5): the classes that were looked for in the
    image, and if these are fewer than `count` others that are drawn from its seed, without putting
    back, by the square root of the number of training images that show them. Raises ValueError
    where the targets do not say.
    """
    if not count:
        return None
    return torch.stack([_federated(*of, count) for of in zip(targets, seeds, strict=True)])


def _federated(targets: Targets, seed: int, count: int) -> Tensor:
    known, images = targets.looked_for, targets.class_images
    if known is None or images is None:
        raise ValueError(
            "head.federated counts some classes of each image: expected targets with looked_for and "
            "class_images"
        )
    generator = Random(seed)
    drawn = torch.tensor([generator.random() for _ in range(len(known))])
    # The greatest of u^(1/w) are such a draw (Efraimidis and Spirakis, 2006).
    keys = drawn.log().to(known.device, non_blocking=True) / images.sqrt()
    best = keys.masked_fill(known, math.inf).argsort(descending=True, stable=True)[:count]
    # Never one that no training image shows; how many are known is not asked: that would wait.
    return (torch.zeros_like(known).scatter(0, best, True) & (images > 0)) | known
