"""Point-wise augmentation of the frozen backbone's feature maps, during training only.

As in FroFA (Bär et al., arXiv 2403.10519), a map is scaled to 0..1 by its minimum and maximum, changed
there as an image would be, and scaled back. No value moves to another cell, so boxes stay where they are.
Detection improved only with few images (docs/augmentation.md), so it is off by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import torch
from torch import Tensor

from ..cache.pyramid import FeaturePyramid
from .augment_settings import AugmentSettings

_SALT = 0xA0761D6478BD642F


def augmented(
    pyramid: FeaturePyramid, settings: AugmentSettings, seeds: Sequence[int]
) -> FeaturePyramid:
    """Return new maps, each image's drawn from its own seed; the same pyramid where nothing is on."""
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
    return replace(pyramid, maps=tuple(maps))


def _changed(x: Tensor, settings: AugmentSettings, draw: Random) -> Tensor:
    """Return the augmented version of one map (C, H, W)."""
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
    """Shift values in 0..1 and clip them to that range."""
    return (unit + shift).clamp(0, 1)


def contrast(unit: Tensor, factor: Tensor, of_channel: bool) -> Tensor:
    """Move values in 0..1, (C, H, W), away from the mean of the map or of each channel, and clip them."""
    mean = unit.mean((1, 2) if of_channel else (0, 1, 2), keepdim=True)
    return (mean + factor * (unit - mean)).clamp(0, 1)


def posterize(unit: Tensor, bits: Tensor) -> Tensor:
    """Round values in 0..1 down to one of 2^bits levels; 1 takes the last of them."""
    levels = torch.exp2(bits)
    return (unit * levels).floor().minimum(levels - 1) / levels


def _range(x: Tensor, of_channel: bool) -> tuple[Tensor, Tensor]:
    """Return the minimum and the span, (1, 1, 1) or (C, 1, 1); a span of 0 becomes 1."""
    along = (1, 2) if of_channel else (0, 1, 2)
    low, high = x.amin(along, keepdim=True), x.amax(along, keepdim=True)
    span = high - low
    return low, torch.where(span > 0, span, 1.0)


def _drawn(x: Tensor, count: int, draw: Random, low: float, high: float) -> Tensor:
    return _along(x, [draw.uniform(low, high) for _ in range(count)])


def _along(x: Tensor, values: Sequence[float]) -> Tensor:
    """Return the values as (N, 1, 1) on the map's device: one for each channel, or one for all."""
    return torch.tensor(values, dtype=x.dtype, device=x.device)[:, None, None]
