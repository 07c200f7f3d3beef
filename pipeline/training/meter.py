"""Sums between two lines of the log: losses, images, and the time spent waiting for data."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor

from ..machines.processes import Processes
from .step import Done

T = TypeVar("T")


class Meter:
    """The sums since the last `reset`.

    steps: the number of steps that moved the weights.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.losses: dict[str, list[Tensor]] = defaultdict(list)
        self.steps = self.images = 0
        self.waited = 0.0
        self.since = time.monotonic()

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.since, 1e-9)

    def timed(self, batches: Iterator[T]) -> Iterator[T]:
        """Yield the batches, and measure the time spent waiting for each."""
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self.waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def add(self, done: Done) -> None:
        """Add one step."""
        for name, loss in done.losses.items():
            self.losses[name].append(loss)
        self.steps += done.moved
        self.images += done.images

    def read(self, processes: Processes) -> tuple[dict[str, float], float, float]:
        """Return mean losses and images per second over all processes, and this one's share of waiting."""
        names = sorted(set().union(*processes.gather(set(self.losses))))
        none = torch.zeros(1, device=processes.device)
        sums = [torch.stack(self.losses[n]).sum()[None] if self.losses[n] else none for n in names]
        images = torch.tensor([float(self.images)], device=processes.device)
        first, *others = processes.sum_(torch.cat([images, *sums])).tolist()
        losses = {n: value / self.steps for n, value in zip(names, others, strict=True)}
        # The time is read only now that the device has finished its work.
        seconds = self.seconds
        return losses, first / seconds, self.waited / seconds
