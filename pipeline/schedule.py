"""The learning rate as a function of the step alone, and the optimiser that it drives."""

from __future__ import annotations

import math

import torch

from ..heads.detector import Detector
from .config import OptimSettings, ScheduleSettings


def lr_factor(settings: ScheduleSettings, step: int, steps: int) -> float:
    """What the peak learning rate is multiplied with at a step of `steps`."""
    warmup = min(settings.warmup_steps, steps // 4)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if settings.name == "step":
        passed = sum(step >= milestone * steps for milestone in settings.milestones)
        return settings.gamma**passed
    share = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * share))


def make_optimiser(detector: Detector, settings: OptimSettings) -> torch.optim.Optimizer:
    """Weight decay for weights alone, not for biases and the scales of norms."""
    trained = [p for p in detector.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    return torch.optim.AdamW(groups, lr=settings.lr)
