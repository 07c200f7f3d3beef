"""The settings of the necks, without torch, so that they can be checked before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ...cache.errors import ConfigError
from ..family import Activation, Extra, NeckSettings, Norm
from ..ranges import between


@dataclass(frozen=True, slots=True)
class TopDownSettings(NeckSettings):
    """The settings of necks with FPN's top-down path.

    All cached levels from min_level on take part, including those above max_level.
    """

    extra: Annotated[Extra, "what levels coarser than the cache's are made from"] = "p"
    norm: Annotated[Norm, "the norm after every convolution"] = "gn"


@dataclass(frozen=True, slots=True)
class FPNSettings(TopDownSettings):
    """The settings of FPN."""

    name: Literal["fpn"] = "fpn"
    activation: Annotated[
        Activation, "after the 3x3 convolution of every level; the original FPN has none"
    ] = "none"


@dataclass(frozen=True, slots=True)
class PAFPNSettings(TopDownSettings):
    """The settings of PAFPN."""

    name: Literal["pafpn"] = "pafpn"
    activation: Annotated[Activation, "after each convolution of the path"] = "relu"


@dataclass(frozen=True, slots=True)
class BiFPNSettings(NeckSettings):
    """The settings of BiFPN."""

    name: Literal["bifpn"] = "bifpn"
    repeats: Annotated[
        int, between(1, 64), "how often the two paths come, each time with new weights"
    ] = 3
    norm: Annotated[
        Norm, "the norm; the paper's is sync-bn, for its batches of 128; gn needs no large ones"
    ] = "gn"
    activation: Annotated[Activation, "the activation"] = "silu"
    order: Annotated[
        Literal["act-conv-norm", "conv-norm-act"],
        "of the layers after a fusion; the paper's own code has the activation first",
    ] = "act-conv-norm"

    def __post_init__(self) -> None:
        NeckSettings.__post_init__(self)
        if self.max_level == self.min_level:
            raise ConfigError(
                f"setting 'neck.max_level': neck bifpn needs two levels, got only {self.min_level}"
            )


@dataclass(frozen=True, slots=True)
class NASFPNSettings(NeckSettings):
    """The settings of NAS-FPN."""

    name: Literal["nas-fpn"] = "nas-fpn"
    repeats: Annotated[
        int, between(1, 7), "how often the graph comes, each time with new weights"
    ] = 5
    norm: Annotated[
        Norm, "the norm; the paper's is sync-bn, for its batches of 64; gn needs no large ones"
    ] = "gn"
    activation: Annotated[Activation, "before each 3x3 convolution"] = "relu"


@dataclass(frozen=True, slots=True)
class TapSettings(NeckSettings):
    """The settings of necks that make a pyramid from taps of a plain ViT. ViTDet has levels from 2 on."""

    norm: Annotated[Norm, "the norm after every convolution"] = "ln"
    activation: Annotated[Activation, "between two deconvolutions"] = "gelu"


@dataclass(frozen=True, slots=True)
class ViTPyramidSettings(TapSettings):
    """The settings of the ViT pyramid."""

    name: Literal["vit-pyramid"] = "vit-pyramid"


@dataclass(frozen=True, slots=True)
class TapAttentionSettings(TapSettings):
    """The settings of the attention over taps."""

    name: Literal["tap-attention"] = "tap-attention"
    attention_heads: Annotated[
        int, between(1, 2**10), "heads of the attention, a divisor of neck.channels"
    ] = 8


@dataclass(frozen=True, slots=True)
class IdentitySettings(NeckSettings):
    """The settings of the identity neck, which makes no level of its own."""

    name: Literal["identity"] = "identity"
    channels: Annotated[
        int, between(0, 2**16), "channels that the cached levels must have; 0: any"
    ] = 0
    min_level: Annotated[int, between(0, 20), "first cached level that is used"] = 0
    max_level: Annotated[int, between(0, 20), "last cached level that is used"] = 16


@dataclass(frozen=True, slots=True)
class HybridSettings(NeckSettings):
    """The settings of RT-DETR's hybrid encoder."""

    name: Literal["hybrid"] = "hybrid"
    taps: Annotated[
        int,
        between(0, 1024),
        "of levels of one stride, as taps of a plain ViT are: the number of the last ones whose mean is "
        "taken; 0: all",
    ] = 0
    encoder_layers: Annotated[
        int, between(0, 64), "transformer layers over the coarsest cached level"
    ] = 1
    attention_heads: Annotated[
        int, between(1, 2**10), "heads of their attention; a divisor of neck.channels"
    ] = 8
    ffn_channels: Annotated[
        int, between(1, 2**20), "channels between the two linear layers of such a layer"
    ] = 512
    blocks: Annotated[int, between(1, 64), "blocks of each fusion of two levels"] = 3
    expansion: Annotated[
        float, between(0.01, 8), "channels within a fusion, in those of the levels"
    ] = 1.0
    norm: Annotated[
        Norm, "the norm after every convolution; the paper's is sync-bn; gn needs no large batches"
    ] = "gn"
    activation: Annotated[Activation, "after each convolution of a fusion"] = "silu"
