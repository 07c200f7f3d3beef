"""The learning rate as a function of the step alone."""

from __future__ import annotations

import math

from ..runs.config import ScheduleSettings

_FIRST_SHARE = 1 / 25


def lr_factor(settings: ScheduleSettings, step: int, steps: int) -> float:
    """Return the factor of the peak learning rate at a step of `steps`."""
    if settings.name == "onecycle":
        return _one_cycle(settings.rise * steps, step, steps)
    warmup = min(settings.warmup_steps, steps // 4)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if settings.name == "step":
        passed = sum(step >= milestone * steps for milestone in settings.milestones)
        return settings.gamma**passed
    return _falling((step - warmup) / max(1, steps - warmup))


def _one_cycle(peak: float, step: int, steps: int) -> float:
    if step < peak:
        return _FIRST_SHARE + (1 - _FIRST_SHARE) * _falling(1 - step / peak)
    return _falling((step - peak) / max(1, steps - peak))


def _falling(share: float) -> float:
    """Return a half cosine, which falls from 1 to 0 as `share` rises from 0 to 1."""
    return 0.5 * (1.0 + math.cos(math.pi * share))
