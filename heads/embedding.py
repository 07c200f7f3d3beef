"""Classification by given vectors, e.g. of the classes' names by a text encoder, instead of learnt weights.

A class's logit is the scaled cosine between its vector and the output of a layer for a location or a RoI
(F-VLM, arXiv 2209.15639, section 3). So other vectors make other classes, without training.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..cache.errors import ConfigError
from .convolutions import initialise

# The factor of the cosine in a fresh head, and the score that a fresh dense head gives to every class.
FIRST_SCALE = 20.0
PRIOR = 0.01
# Locations of padding have features of zero, where a cosine has no gradient.
_LEAST_SQUARE = 1e-6


class ClassVectors(nn.Module):
    """A layer that knows classes by vectors.

    vectors: (K, D), which are not trained and are saved with the weights.
    """

    vectors: Tensor

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", _normalised(vectors))

    def replace(self, vectors: Tensor) -> None:
        """Replace the vectors with those of other classes, (K', D).

        Raises ConfigError for vectors of another length.
        """
        if vectors.shape[1] != self.vectors.shape[1]:
            raise ConfigError(
                f"class embeddings: expected vectors of {self.vectors.shape[1]} values, as in training, "
                f"got {vectors.shape[1]}; take the encoder that those were made with"
            )
        self.vectors = _normalised(vectors).to(self.vectors.device)


class VectorClassifier(ClassVectors):
    """A layer that classifies by vectors."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__(vectors)
        self.log_scale = nn.Parameter(torch.tensor(math.log(FIRST_SCALE)))


class PlaceClassifier(VectorClassifier):
    """The last layer of a dense head: a 3x3 convolution to a vector for each anchor of a location.

    A learnt bias, the same for all classes, stands for how rare objects are.
    """

    def __init__(self, channels: int, anchors: int, vectors: Tensor) -> None:
        super().__init__(vectors)
        self.projection = nn.Conv2d(channels, anchors * vectors.shape[1], 3, padding=1)
        initialise(self.projection)
        self.shift = nn.Parameter(torch.tensor(-math.log((1 - PRIOR) / PRIOR)))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, anchors * K, H, W), anchor after anchor, for x (B, C, H, W)."""
        features = self.projection(x).unflatten(1, (-1, self.vectors.shape[1]))
        cosines = torch.einsum("badhw,kd->bakhw", _unit(features, 2), self.vectors)
        return (cosines * self.log_scale.exp() + self.shift).flatten(1, 2)


class RoIClassifier(VectorClassifier):
    """The last layer of a box head, in which the vector of the background is learnt."""

    def __init__(self, channels: int, vectors: Tensor) -> None:
        super().__init__(vectors)
        self.projection = nn.Linear(channels, vectors.shape[1])
        self.background = nn.Parameter(torch.randn(vectors.shape[1]) / vectors.shape[1] ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K + 1), the background's first, for x (N, C)."""
        vectors = torch.cat([_unit(self.background, 0)[None], self.vectors])
        return _unit(self.projection(x), 1) @ vectors.T * self.log_scale.exp()


class QueryClassifier(VectorClassifier):
    """The last layer of a query head, with the bias of a dense head."""

    def __init__(self, channels: int, vectors: Tensor) -> None:
        super().__init__(vectors)
        self.projection = nn.Linear(channels, vectors.shape[1])
        self.shift = nn.Parameter(torch.tensor(-math.log((1 - PRIOR) / PRIOR)))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (..., K) for x (..., C)."""
        return _unit(self.projection(x), -1) @ self.vectors.T * self.log_scale.exp() + self.shift


def location_classifier(layer: nn.Module, anchors: int, vectors: Tensor) -> PlaceClassifier:
    """Return a layer in place of a dense head's last convolution; an existing one gets the new vectors."""
    if isinstance(layer, PlaceClassifier):
        layer.replace(vectors)
        return layer
    assert isinstance(layer, nn.Conv2d)
    return PlaceClassifier(layer.in_channels, anchors, vectors)


def roi_classifier(layer: nn.Module, vectors: Tensor) -> RoIClassifier:
    """Return a layer in place of a box head's last linear layer; an existing one gets the new vectors."""
    if isinstance(layer, RoIClassifier):
        layer.replace(vectors)
        return layer
    assert isinstance(layer, nn.Linear)
    return RoIClassifier(layer.in_features, vectors)


def query_classifier(layer: nn.Module, vectors: Tensor) -> QueryClassifier:
    """Return a layer in place of a query head's class layer; an existing one gets the new vectors."""
    if isinstance(layer, QueryClassifier):
        layer.replace(vectors)
        return layer
    assert isinstance(layer, nn.Linear)
    return QueryClassifier(layer.in_features, vectors)


def _normalised(vectors: Tensor) -> Tensor:
    """Return vectors (K, D) of length 1, row by row in memory, since products depend on it."""
    return functional.normalize(vectors.float(), dim=1).contiguous()


def _unit(x: Tensor, dim: int) -> Tensor:
    """Return x in float32, scaled to length 1, or to less where it is next to zero."""
    x = x.float()
    return x * torch.rsqrt(x.square().sum(dim, keepdim=True) + _LEAST_SQUARE)
