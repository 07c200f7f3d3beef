"""The training loop over what was pooled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...training.loop import Loop, Parts
from .pool import Pool, PooledBatch


@dataclass(kw_only=True)
class PooledLoop(Loop):
    """The steps of an epoch are those that the maps would give."""

    pool: Pool

    def load(self, parts: Parts) -> Iterator[PooledBatch]:
        """From memory, or the scratch file."""
        epoch = self.sampler.epoch_of(self.position.step)
        return self.pool.batches(parts, epoch, self.data, self.stepper.processes.device)
