"""Sums between two lines of the log: losses, images, and the time that was spent waiting for data."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from ..machines.processes import Processes
from .step import Done

T = TypeVar("T")


class Meter:
    """Begins anew with every `reset`. steps: those that moved the weights."""

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

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While others have their turn."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.since += time.monotonic() - began

    def timed(self, batches: Iterator[T]) -> Iterator[T]:
        """The batches, with the time that each is waited for."""
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self.waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def add(self, done: Done) -> None:
        """One step."""
        for name, loss in done.losses.items():
            self.losses[name].append(loss)
        self.steps += done.moved
        self.images += done.images

    def read(self, processes: Processes) -> tuple[dict[str, float], float, float]:
        """Mean losses and images a second of all processes, and this one's share of time waiting."""
        names = sorted(set().union(*processes.gather(set(self.losses))))
        none = torch.zeros(1, device=processes.device)
        sums = [torch.stack(self.losses[n]).sum()[None] if self.losses[n] else none for n in names]
        images = torch.tensor([float(self.images)], device=processes.device)
        first, *others = processes.sum_(torch.cat([images, *sums])).tolist()
        losses = {n: value / self.steps for n, value in zip(names, others, strict=True)}
        # Now that the device has done what it was given.
        seconds = self.seconds
        return losses, first / seconds, self.waited / seconds
