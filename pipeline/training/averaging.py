"""A moving average of the weights: often better than the last ones, and never trained itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from ..runs.model import Model


class MovingAverage:
    """Of all tensors of a model; whole numbers are copied.

    The decay grows with the steps, to `decay`, so that the first weights are soon forgotten.
    """

    def __init__(self, model: Model, decay: float, tensors: Mapping[str, Tensor]) -> None:
        """tensors: the average so far; none where it begins."""
        self._model, self._decay = model, decay
        own = model.tensors()
        self.tensors = {n: tensors.get(n, v).to(v.device, copy=True) for n, v in own.items()}
        # The model's tensors stay where they are: what it loads is copied into them.
        floats = [n for n, v in own.items() if v.is_floating_point()]
        self._averages, self._own = [self.tensors[n] for n in floats], [own[n] for n in floats]
        self._counts = [(self.tensors[n], own[n]) for n in own.keys() - floats]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After the step of this number, counted from 0."""
        keep = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._own, 1.0 - keep)
        for copied, own in self._counts:
            copied.copy_(own)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model with the averaged weights, and with its own again afterwards."""
        own = {name: v.clone() for name, v in self._model.tensors().items()}
        self._model.load(self.tensors)
        try:
            yield
        finally:
            self._model.load(own)
