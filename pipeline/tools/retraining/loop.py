"""The training loop over a pool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...training.loop import Loop, Parts
from .pool import Pool, PooledBatch


@dataclass(kw_only=True)
class PooledLoop(Loop):
    """A loop over a pool. The steps of an epoch are those that a loop over the maps would have."""

    pool: Pool

    def load(self, parts: Parts) -> Iterator[PooledBatch]:
        """Return the batches of an epoch from memory, or from the scratch file."""
        epoch = self.sampler.epoch_of(self.position.step)
        return self.pool.batches(parts, epoch, self.data, self.stepper.processes.device)
