"""A library's model, and where its feature pyramid is tapped.

A level is called c3 for stride 8, c4 for 16 and so on; where several taps share a stride (plain ViTs) they
are called block0, block1, ..."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ...cache.pyramid import LevelSpec, VectorSpec
from .weights import StateDict

TORCHVISION = "torchvision/"
HW = tuple[int, int]

# How an image's vector is made: the class token behind the final norm; the model's own pooling, an average
# over what the image covers of the last map; or its own pooling of another kind, over the whole canvas.
CLASS_TOKEN, AVERAGE_POOL, OWN_POOL = "class-token", "average-pool", "own-pool"


class TappedNet(nn.Module):
    """(B, 3, H, W) -> the maps of some levels, NCHW."""

    def with_vector(self, x: Tensor, content_hw: Sequence[HW]) -> tuple[list[Tensor], Tensor]:
        """The same maps, and (B, C): of each image as a whole, `content_hw` being what it covers, in px."""
        raise NotImplementedError


class Build(Protocol):
    """From positions of levels to the net that taps them; whole: it can do `with_vector` too."""

    def __call__(self, chosen: Sequence[int], whole: bool = False) -> TappedNet: ...


def covered(cells: HW, canvas_hw: HW, content_hw: HW) -> HW:
    """Rows and columns of a map, of so many cells, that show some of the image."""
    rows, columns = (
        -(-count * content // canvas)
        for count, canvas, content in zip(cells, canvas_hw, content_hw, strict=True)
    )
    return rows, columns


def pooled_over_images(
    last: Tensor, pool: Callable[[Tensor], Tensor], canvas_hw: HW, content_hw: Sequence[HW]
) -> Tensor:
    """(B, C, H, W) -> (B, C'): `pool` of what each image covers of its map."""
    cells = (int(last.shape[2]), int(last.shape[3]))
    vectors = []
    for k, content in enumerate(content_hw):
        rows, columns = covered(cells, canvas_hw, content)
        vectors.append(pool(last[k : k + 1, :, :rows, :columns]))
    return torch.cat(vectors)


@dataclass(frozen=True, slots=True)
class Taps:
    """A library's model and how to tap it.

    available: every level it offers. image_vector: what it offers of an image as a whole. sized: it
    must be told its canvas size. native_hw: the canvas it was made for, where it may take no other.
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


def level_names(strides: Sequence[int], prefix: Sequence[str]) -> list[str]:
    """By stride where that is the only one of its kind, else the library's own name."""
    counts = Counter(strides)
    return [
        f"c{round(math.log2(stride))}" if counts[stride] == 1 else other
        for stride, other in zip(strides, prefix, strict=True)
    ]
