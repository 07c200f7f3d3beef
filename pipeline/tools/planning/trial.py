"""A few images passed through the backbone: the time of each step of an extraction, and their maps."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ....cache.errors import InputError
from ....cache.format.header import CacheHeader
from ....cache.layout import ImageEntry
from ....cache.placement import Placement
from ....cache.pyramid import FeaturePyramid, PyramidSpec
from ....cache.wording import none_could
from ...backbones.frozen import FrozenBackbone
from ...dataset.images.canvases import Canvases, CanvasRecipe, render
from ...extraction.calibration import evenly
from ...machines.progress import progress_line

T = TypeVar("T")

_HOST = torch.device("cpu")
# The trial's maps are kept in memory, as float32, until every codec has been tried on them.
MOST_BYTES = 2**28
SECONDS, LEAST = 20.0, 2


@dataclass(frozen=True, slots=True)
class Passed:
    """A sample that went through the backbone.

    pyramid: its maps, with B = 1. decode: the seconds of decoding it. forward: its share of the seconds of a
    pass.
    """

    placement: Placement
    pyramid: FeaturePyramid
    decode: float
    forward: float

    @property
    def values(self) -> int:
        return values_of(self.pyramid.spec, self.placement.canvas_hw)


@dataclass(frozen=True, slots=True)
class BackboneTrial:
    """The results of a trial.

    decode: the median seconds per image. forward: the median seconds per value of the maps. failed: why
    images could not be read, by file name.
    """

    samples: tuple[Passed, ...]
    failed: Mapping[str, str]

    @property
    def decode(self) -> float:
        return median(sample.decode for sample in self.samples)

    @property
    def forward(self) -> float:
        return median(sample.forward / sample.values for sample in self.samples)


def values_of(spec: PyramidSpec, canvas_hw: tuple[int, int]) -> int:
    """Return the number of values in the maps of a canvas, over all levels."""
    return sum(int(np.prod(level.shape(canvas_hw))) for level in spec.levels)


def choose(header: CacheHeader, most: int) -> list[ImageEntry]:
    """Return images spread over all canvases, in an order that stays spread wherever it is cut off."""
    largest = max(values_of(header.key.levels, b.canvas_hw) for b in header.layout.buckets)
    count = min(most, max(LEAST, MOST_BYTES // (4 * largest)))
    chosen = evenly(header.layout.images, count)
    random.Random(0).shuffle(chosen)
    return chosen


def try_backbone(
    header: CacheHeader,
    backbone: FrozenBackbone,
    recipe: CanvasRecipe,
    images: Sequence[ImageEntry],
) -> BackboneTrial:
    """Pass one view of each image through the backbone, the views in turn, for a limited time.

    Raises InputError where no image can be read.
    """
    passed: list[Passed] = []
    failed: dict[str, str] = {}
    warm: set[tuple[int, int]] = set()
    begun = time.monotonic()
    with progress_line("trial images", len(images)) as progress:
        for number, image in enumerate(images):
            view = number % len(recipe.views)
            shown, decode = timed(_HOST, render, recipe, image, (view,))
            progress.advance()
            if shown.pixels is None:
                failed[image.file_name] = shown.failure
                continue
            passed.append(_passed(backbone, shown, decode, header.key.batch_size, warm))
            if len(passed) >= LEAST and time.monotonic() - begun > SECONDS:
                break
    if not passed:
        why = next(iter(failed.values()))
        raise InputError(f"{none_could(len(failed), 'image', 'be read')} in the trial: {why}")
    return BackboneTrial(tuple(passed), failed)


def _passed(
    backbone: FrozenBackbone,
    shown: Canvases,
    decode: float,
    batch_size: int,
    warm: set[tuple[int, int]],
) -> Passed:
    """Pass a sample in a batch as full as the extraction's; the first pass of a canvas does not count."""
    device = next(backbone.parameters()).device
    assert shown.pixels is not None
    placement = shown.placements[0]
    batch = np.repeat(shown.pixels[:1], batch_size, axis=0)
    contents = [placement.content_hw] * batch_size

    def forward() -> FeaturePyramid:
        return backbone(torch.from_numpy(batch).to(device), contents)  # type: ignore[no-any-return]

    if placement.canvas_hw not in warm:
        warm.add(placement.canvas_hw)
        timed(device, forward)
    pyramid, seconds = timed(device, forward)
    maps: tuple[Tensor, ...] = tuple(x[:1].clone() for x in pyramid.maps)
    alone = FeaturePyramid(pyramid.spec, maps, pyramid.canvas_hw)
    return Passed(placement, alone, decode, seconds / batch_size)


def timed(device: torch.device, work: Callable[..., T], *arguments: Any) -> tuple[T, float]:
    """Return the result of `work`, and the seconds until it was complete, also on the device."""
    started = time.monotonic()
    result = work(*arguments)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.monotonic() - started
