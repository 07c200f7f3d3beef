"""A library's model, and the taps that give its feature pyramid.

A level is called c3 for stride 8, c4 for stride 16 and so on. Where several taps share a stride (plain
ViTs) they are called block0, block1, ..."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ...cache.pyramid import LevelSpec, VectorSpec
from .weights_file import StateDict

HW = tuple[int, int]

# The vector of an image is either the class token behind the final norm, or the model's own average pooling
# over what the image covers of the last map, or its own pooling of another kind over the whole canvas.
CLASS_TOKEN, AVERAGE_POOL, OWN_POOL = "class-token", "average-pool", "own-pool"


class TappedNet(nn.Module):
    """A net from (B, 3, H, W) to the maps of some levels, NCHW."""

    def with_vector(self, x: Tensor, content_hw: Sequence[HW]) -> tuple[list[Tensor], Tensor]:
        """Compute the same maps, and a vector of each image as a whole, (B, C).

        content_hw: the size in px that each image covers of its canvas.
        """
        raise NotImplementedError

    def with_tokens(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Compute the same maps, and of each level the tokens before the cells: (B, the sum of all P * C)."""
        raise NotImplementedError


class Build(Protocol):
    """A function from positions of levels to the net that taps them.

    whole: whether the net must support `with_vector` too.
    """

    def __call__(self, chosen: Sequence[int], whole: bool = False) -> TappedNet: ...


def covered(cells: HW, canvas_hw: HW, content_hw: HW) -> HW:
    """Return how many rows and columns of a map of `cells` show some of the image."""
    rows, columns = (
        -(-count * content // canvas)
        for count, canvas, content in zip(cells, canvas_hw, content_hw, strict=True)
    )
    return rows, columns


def pooled_over_images(
    last: Tensor, pool: Callable[[Tensor], Tensor], canvas_hw: HW, content_hw: Sequence[HW]
) -> Tensor:
    """Apply `pool` to what each image covers of its map: (B, C, H, W) -> (B, C')."""
    cells = (int(last.shape[2]), int(last.shape[3]))
    vectors = []
    for k, content in enumerate(content_hw):
        rows, columns = covered(cells, canvas_hw, content)
        vectors.append(pool(last[k : k + 1, :, :rows, :columns]))
    return torch.cat(vectors)


@dataclass(frozen=True, slots=True)
class Taps:
    """A library's model and how to tap it.

    available: every level that it offers. classifier: the prefixes of the names of the classifier's
    tensors. sized: whether the model must be fitted to its canvas size. native_hw: the canvas that it was
    made for, where it may not accept any other. image_vector: the vector that it offers for an image as a
    whole. tokens: the number of tokens, such as a class token, that it offers beside the map of each level.
    """

    model: nn.Module
    available: tuple[LevelSpec, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classifier: tuple[str, ...]
    build: Build
    sized: bool
    native_hw: HW | None
    download: Callable[[], StateDict]
    image_vector: VectorSpec | None
    tokens: int = 0


def level_names(strides: Sequence[int], prefix: Sequence[str]) -> list[str]:
    """Name each level by its stride where no other level has that stride, else as the library does."""
    counts = Counter(strides)
    return [
        f"c{round(math.log2(stride))}" if counts[stride] == 1 else other
        for stride, other in zip(strides, prefix, strict=True)
    ]
