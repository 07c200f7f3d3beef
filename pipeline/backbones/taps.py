"""A library's model, and where its feature pyramid is tapped.

A level is called c3 for stride 8, c4 for 16 and so on; where several taps share a stride (plain ViTs) they
are called block0, block1, ..."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from ...cache.pyramid import LevelSpec
from .weights import StateDict

TORCHVISION = "torchvision/"
HW = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Taps:
    """A library's model and how to tap it.

    available: every level it offers. build(chosen positions) -> module that maps (B, 3, H, W) to
    the maps, NCHW. sized: it must be told its canvas size. native_hw: the canvas it was made for,
    where it may take no other.
    """

    model: nn.Module
    available: tuple[LevelSpec, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classifier: tuple[str, ...]
    build: Callable[[Sequence[int]], nn.Module]
    sized: bool
    native_hw: HW | None
    download: Callable[[], StateDict]


def level_names(strides: Sequence[int], prefix: Sequence[str]) -> list[str]:
    """By stride where that is the only one of its kind, else the library's own name."""
    counts = Counter(strides)
    return [
        f"c{round(math.log2(stride))}" if counts[stride] == 1 else other
        for stride, other in zip(strides, prefix, strict=True)
    ]
