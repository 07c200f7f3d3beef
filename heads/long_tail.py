"""Losses for classes that few images show: how much each class weighs, and which count for an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor

from .types import Targets


def class_weights(images: Tensor, beta: float) -> Tensor:
    """Return (K,): the weight of each class, 1 over its effective number of samples.

    By equation 3 of Cui et al., arXiv 1901.05555, it is (1 - beta) / (1 - beta^n) for a class that n
    training images show, scaled so that the mean over the classes is 1. images: (K,), the n of each class;
    a class that no image shows takes no part and has weight 1.
    """
    present = images > 0
    # This computes 1 - beta^n without rounding errors where beta is close to 1. The factor 1 - beta
    # does not depend on n, and the scaling cancels it.
    logarithm = math.log(beta) if beta else -math.inf
    weights = torch.where(present, -1 / torch.expm1(images.clamp(min=1) * logarithm), 0)
    return torch.where(present, weights * present.sum() / weights.sum().clamp(min=1e-12), 1)


def label_weights(targets: Sequence[Targets], labels: Tensor, beta: float) -> Tensor:
    """Return (...): the weight of each label 0..K-1, and 1 for background, -1.

    All weights are 1 where beta is 0. Raises ValueError where beta is not 0 and the targets do not say how
    many images show each class.
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
    """Return (B, K) bool: the classes that count in each image's loss; None, for all, where `count` is 0.

    In federated loss (Zhou et al., arXiv 2103.07461, section 5) these are the classes that were looked for
    in the image. Where they are fewer than `count`, others are drawn from the image's seed, without
    replacement, weighted by the square root of the number of training images that show them. Raises
    ValueError where the targets have no known_classes or class_images.
    """
    if not count:
        return None
    return torch.stack([_federated(*of, count) for of in zip(targets, seeds, strict=True)])


def _federated(targets: Targets, seed: int, count: int) -> Tensor:
    known, images = targets.known_classes, targets.class_images
    if known is None or images is None:
        raise ValueError(
            "head.federated counts some classes of each image: expected targets with known_classes and "
            "class_images"
        )
    generator = Random(seed)
    drawn = torch.tensor([generator.random() for _ in range(len(known))])
    # The largest u^(1/w) are a weighted draw without replacement (Efraimidis and Spirakis, 2006).
    keys = drawn.log().to(known.device, non_blocking=True) / images.sqrt()
    best = keys.masked_fill(known, math.inf).argsort(descending=True, stable=True)[:count]
    # A class that no training image shows is never drawn. The number of known classes is not read,
    # as that would wait for the device.
    return (torch.zeros_like(known).scatter(0, best, True) & (images > 0)) | known
