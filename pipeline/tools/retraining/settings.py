"""What stage 2 is set by: each default stands here alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetrainSettings:
    """epochs; lr: the peak, of AdamW, falling along a cosine. batch_size: images a step, None for that of
    stage 1. class_balance: beta of the effective number of samples, as head.class_balance; 0 for no
    weights. samplings: of box heads, how often RoIs are drawn in each view of an image; epochs take them
    in turn. seed: None for that of stage 1.
    """

    epochs: int = 12
    lr: float = 5e-4
    batch_size: int | None = None
    class_balance: float = 0.999
    samplings: int = 1
    seed: int | None = None
