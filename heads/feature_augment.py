"""Point-wise augmentation of feature maps, of the frozen backbone's, during training alone.

After FroFA (Bär et al., arXiv 2403.10519): a map is taken to 0..1 by its least and largest value,
changed there as an image would be, and taken back. No value moves to another cell, so boxes stay
where they are. Detection gained with few images alone (docs/augmentation.md): it is off by
default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import Literal

import torch
from torch import Tensor

from ..cache.pyramid import FeaturePyramid
from .checks import check_range

# What has a range and what a parameter of its own: the map and the map; the map and each channel
# (cFroFA); each channel and each channel (c2FroFA).
Variant = Literal["map", "channel", "channel-range"]

_SALT = 0xA0761D6478BD642F


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """share: of the images that are augmented; what is 0 is off. In units of the range 0..1:

    brightness b: x + d, d from -b..b. contrast c: m + f (x - m), f from 1-c..1+c, m the mean.
    posterize n: floor(x 2^k) / 2^k, k from n..8 bits (as an image of 8 bits is posterized).

    noise: standard deviation of what is added to each value, in standard deviations of its map or
    channel. channel_dropout: share of the channels that are set to 0.
    """

    share: float = 1.0
    variant: Variant = "map"
    brightness: float = 0.0
    contrast: float = 0.0
    posterize: int = 0
    noise: float = 0.0
    channel_dropout: float = 0.0

    def __post_init__(self) -> None:
        check_range("augment.share", self.share, 0, 1)
        check_range("augment.brightness", self.brightness, 0, 1)
        check_range("augment.contrast", self.contrast, 0, 1)
        check_range("augment.posterize", self.posterize, 0, 8)
        check_range("augment.noise", self.noise, 0, 100)
        check_range("augment.channel_dropout", self.channel_dropout, 0, 0.999)

    @property
    def on(self) -> bool:
        """Whether anything is changed at all."""
        kinds = (f.name for f in fields(self) if f.name not in ("share", "variant"))
        return self.share > 0 and any(getattr(self, name) for name in kinds)


def augmented(
    pyramid: FeaturePyramid, settings: AugmentSettings, seeds: Sequence[int]
) -> FeaturePyramid:
    """New maps, each image's drawn from its own seed; the same pyramid where nothing is on."""
    if not settings.on:
        return pyramid
    draws = [Random(seed ^ _SALT) for seed in seeds]
    chosen = [draw.random() < settings.share for draw in draws]
    maps = []
    for x in pyramid.maps:
        changed = [
            _changed(one, settings, draw) if drawn else one
            for one, draw, drawn in zip(x, draws, chosen, strict=True)
        ]
        maps.append(torch.stack(changed) if changed else x)
    return FeaturePyramid(pyramid.spec, tuple(maps), pyramid.canvas_hw)


def _changed(x: Tensor, settings: AugmentSettings, draw: Random) -> Tensor:
    """One map (C, H, W)."""
    ranged = settings.variant == "channel-range"
    low, span = _range(x, ranged)
    unit = (x - low) / span
    count = 1 if settings.variant == "map" else len(x)
    if settings.brightness:
        unit = brightness(unit, _drawn(x, count, draw, -settings.brightness, settings.brightness))
    if settings.contrast:
        factors = _drawn(x, count, draw, 1 - settings.contrast, 1 + settings.contrast)
        unit = contrast(unit, factors, ranged)
    if settings.posterize:
        bits = [float(draw.randint(settings.posterize, 8)) for _ in range(count)]
        unit = posterize(unit, _along(x, bits))
    changed = unit * span + low
    if settings.noise:
        deviation = changed.std((1, 2) if ranged else (0, 1, 2), keepdim=True, correction=0)
        generator = torch.Generator(x.device).manual_seed(draw.getrandbits(32))
        drawn = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        changed = changed + settings.noise * deviation * drawn
    if settings.channel_dropout:
        kept = [float(draw.random() >= settings.channel_dropout) for _ in range(len(x))]
        changed = changed * _along(x, kept)
    return changed


def brightness(unit: Tensor, shift: Tensor) -> Tensor:
    """Values 0..1, moved by `shift` and cut off there."""
    return (unit + shift).clamp(0, 1)


def contrast(unit: Tensor, factor: Tensor, of_channel: bool) -> Tensor:
    """Values 0..1 (C, H, W), moved away from the mean of the map, or of each channel, and cut off."""
    mean = unit.mean((1, 2) if of_channel else (0, 1, 2), keepdim=True)
    return (mean + factor * (unit - mean)).clamp(0, 1)


def posterize(unit: Tensor, bits: Tensor) -> Tensor:
    """Values 0..1 in 2^bits levels, rounded down; 1 takes the last of them."""
    levels = torch.exp2(bits)
    return (unit * levels).floor().minimum(levels - 1) / levels


def _range(x: Tensor, of_channel: bool) -> tuple[Tensor, Tensor]:
    """The least value and the span, (1, 1, 1) or (C, 1, 1); a span of 0 becomes 1."""
    along = (1, 2) if of_channel else (0, 1, 2)
    low, high = x.amin(along, keepdim=True), x.amax(along, keepdim=True)
    span = high - low
    return low, torch.where(span > 0, span, 1.0)


def _drawn(x: Tensor, count: int, draw: Random, least: float, most: float) -> Tensor:
    return _along(x, [draw.uniform(least, most) for _ in range(count)])


def _along(x: Tensor, values: Sequence[float]) -> Tensor:
    """One a channel, or one for all: (N, 1, 1) on the map's device."""
    return torch.tensor(values, dtype=x.dtype, device=x.device)[:, None, None]
