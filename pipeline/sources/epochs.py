"""The epochs of a run: its batches, from the data and the settings."""

from __future__ import annotations

from ...cache.sampler import Sampler
from ..dataset.classes.long_tail import repeat_factors
from ..runs.config import TrainSettings, fixed
from .data import Data


def sampler_of(data: Data, settings: TrainSettings) -> Sampler:
    """Return the sampler of a run on these data."""
    repeats = None
    if settings.repeat_factor:
        repeats = repeat_factors(data.annotations, data.image_ids, settings.repeat_factor)
    return Sampler(
        data.header.layout,
        data.image_ids,
        settings.batch_size,
        settings.seed,
        fixed(settings.epochs),
        settings.shuffle_shards,
        settings.views,
        repeats,
    )
