"""A model of which only the last classifier layers are trained."""

from __future__ import annotations

from typing import Self

from ...runs.model import Model


class FrozenModel(Model):
    """A model that is always in eval mode, so that everything else stays fixed, including norm statistics."""

    def freeze(self) -> Self:
        """Freeze everything but the last classifier layers."""
        self.requires_grad_(False)
        for layer in self.detector.head.classifiers:
            layer.requires_grad_(True)
        return self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever `mode` is."""
        return super().train(False)
