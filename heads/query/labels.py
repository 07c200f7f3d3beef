"""The features that denoising queries begin with, by their noisy labels."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from ..embedding import ClassVectors


class LabelEmbedding(nn.Module):
    """A learnt vector for each class; with class embeddings, what a linear layer makes of the class's."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        table = nn.Embedding(classes, channels)
        nn.init.xavier_uniform_(table.weight)
        self.table: nn.Module = table

    def forward(self, labels: Tensor) -> Tensor:
        """Return (B, N, C) for labels (B, N)."""
        return cast(Tensor, self.table(labels))

    def use_embeddings(self, vectors: Tensor) -> None:
        """Take vectors (K, D) in place of learnt ones, or in place of other ones."""
        if isinstance(self.table, _Projected):
            self.table.replace(vectors)
        else:
            self.table = _Projected(vectors, self.channels)


class _Projected(ClassVectors):
    """Projects the vectors of classes by a linear layer."""

    def __init__(self, vectors: Tensor, channels: int) -> None:
        super().__init__(vectors)
        self.projection = nn.Linear(vectors.shape[1], channels)

    def forward(self, labels: Tensor) -> Tensor:
        """Return (B, N, C) for labels (B, N)."""
        return cast(Tensor, self.projection(self.vectors[labels]))
