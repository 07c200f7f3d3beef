"""An epoch of a run: its batches, from the settings and the number of the epoch."""

from __future__ import annotations

from ...cache.sampler import SampleId, epoch_batches
from ..dataset.long_tail import repeat_factors
from ..runs.config import TrainSettings
from .data import Data


def batches_of_epoch(data: Data, settings: TrainSettings, epoch: int) -> list[list[SampleId]]:
    """Epochs are counted from 0; all have as many batches."""
    repeats = None
    if settings.repeat_factor:
        repeats = repeat_factors(data.annotations, data.image_ids, settings.repeat_factor)
    return epoch_batches(
        data.header.layout,
        data.image_ids,
        settings.batch_size,
        settings.seed,
        epoch,
        settings.shuffle_shards,
        settings.views,
        repeats,
    )
