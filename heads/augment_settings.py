"""The settings of the augmentation of feature maps (feature_augment.py), without torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from .ranges import between, check_fields

# "map": the range and the parameter are those of a map (FroFA). "channel": the range is that of a map, the
# parameter that of a channel (cFroFA). "channel-range": both are those of a channel (c2FroFA).
Variant = Literal["map", "channel", "channel-range"]


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """The settings of the augmentation, in units of the range 0..1; each kind is off where its value is 0.

    brightness b: x + d, with d from -b..b. contrast c: m + f (x - m), with f from 1-c..1+c and m the mean.
    posterize n: floor(x 2^k) / 2^k, with k from n..8 bits (as an image of 8 bits is posterized).
    """

    share: Annotated[float, between(0, 1), "share of the images that are augmented"] = 1.0
    variant: Annotated[
        Variant,
        "map: one range and one random parameter per map (FroFA); channel: a parameter per channel (cFroFA); "
        "channel-range: both per channel (c2FroFA)",
    ] = "map"
    brightness: Annotated[float, between(0, 1), "maximum shift"] = 0.0
    contrast: Annotated[float, between(0, 1), "maximum relative change of contrast"] = 0.0
    posterize: Annotated[int, between(0, 8), "minimum number of bits; 0: off"] = 0
    noise: Annotated[
        float,
        between(0, 100),
        "standard deviation of added noise, in standard deviations of the map or channel",
    ] = 0.0
    channel_dropout: Annotated[
        float, between(0, 0.999), "share of the channels that are set to 0"
    ] = 0.0

    def __post_init__(self) -> None:
        check_fields("augment", self)

    @property
    def on(self) -> bool:
        """Return whether anything is changed at all."""
        kinds = (f.name for f in fields(self) if f.name not in ("share", "variant"))
        return self.share > 0 and any(getattr(self, name) for name in kinds)
