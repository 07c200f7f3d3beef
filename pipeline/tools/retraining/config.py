"""The configuration of stage 2: that of stage 1, except for how it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...command import check_ranges
from ...runs.config import OptimSettings, RunConfig, ScheduleSettings
from ...runs.settings import with_setting
from .settings import RetrainSettings


def stage_2_config(
    before: RunConfig, settings: RetrainSettings, assignments: Sequence[str] = ()
) -> RunConfig:
    """Return the configuration of stage 2, which is evaluated only at its end. Raises ConfigError.

    It keeps stage 1's neck, head, feature augmentation, precision, and the settings that decide which samples
    are seen. assignments: the last changes to it, each 'section.name=value'.
    """
    check_ranges(settings)
    old = before.train
    batch_size = old.batch_size if settings.batch_size is None else settings.batch_size
    train = replace(
        old,
        epochs=settings.epochs,
        batch_size=batch_size,
        accumulate=max(1, min(old.accumulate, batch_size)),
        seed=old.seed if settings.seed is None else settings.seed,
        average=0.0,
        eval_every=max(1, settings.epochs),
        patience=0,
        checkpoint_activations=False,
        compile=False,
    )
    config = replace(
        before,
        head=replace(before.head, class_balance=settings.class_balance),
        train=train,
        optim=OptimSettings(lr=settings.lr),
        schedule=ScheduleSettings(),
    )
    values = config.to_mapping()
    for assignment in assignments:
        values = with_setting(values, assignment)
    return RunConfig.from_mapping(values)
