"""A model of which the last classifier layers alone are trained."""

from __future__ import annotations

from typing import Self

from ...runs.model import Model


class FrozenModel(Model):
    """All else stays as it is, the statistics of norms too: it is always in eval mode."""

    def freeze(self) -> Self:
        """Everything but the last classifier layers."""
        self.requires_grad_(False)
        for layer in self.detector.head.classifiers:
            layer.requires_grad_(True)
        return self.eval()

    def train(self, mode: bool = True) -> Self:
        """Whatever is asked for."""
        return super().train(False)
