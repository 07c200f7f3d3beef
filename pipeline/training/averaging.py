"""A moving average of the weights: often better than the last ones, and never trained itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from ..runs.model import Model


class MovingAverage:
    """A moving average of all tensors of a model, in which integers are copied.

    The decay grows with the steps, up to `decay`, so that the first weights are soon forgotten.
    """

    def __init__(self, model: Model, decay: float, tensors: Mapping[str, Tensor]) -> None:
        """Begin with `tensors`, the average so far; there are none where a new average begins."""
        self._model, self._decay = model, decay
        own = model.tensors()
        self.tensors = {n: tensors.get(n, v).to(v.device, copy=True) for n, v in own.items()}
        # These references stay valid, as a model copies what it loads into its tensors.
        floats = [n for n, v in own.items() if v.is_floating_point()]
        self._averages, self._own = [self.tensors[n] for n in floats], [own[n] for n in floats]
        self._counts = [(self.tensors[n], own[n]) for n in own.keys() - floats]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average after the step of this number, counted from 0."""
        keep = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._own, 1.0 - keep)
        for copied, own in self._counts:
            copied.copy_(own)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights within the block, and its own weights back afterwards."""
        own = {name: v.clone() for name, v in self._model.tensors().items()}
        self._model.load(self.tensors)
        try:
            yield
        finally:
            self._model.load(own)
