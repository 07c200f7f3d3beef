"""The necks, by name; torch is imported when one of them is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...cache.pyramid import PyramidSpec
from ..family import NeckFamily
from .settings import (
    BiFPNSettings,
    FPNSettings,
    HybridSettings,
    IdentitySettings,
    NASFPNSettings,
    PAFPNSettings,
    TapAttentionSettings,
    ViTPyramidSettings,
)

if TYPE_CHECKING:
    from ..detector import Neck


def _fpn(spec: PyramidSpec, settings: FPNSettings) -> Neck:
    from .fpn import FPN

    return FPN(spec, settings)


def _pafpn(spec: PyramidSpec, settings: PAFPNSettings) -> Neck:
    from .pafpn import PAFPN

    return PAFPN(spec, settings)


def _bifpn(spec: PyramidSpec, settings: BiFPNSettings) -> Neck:
    from .bifpn import BiFPN

    return BiFPN(spec, settings)


def _nas_fpn(spec: PyramidSpec, settings: NASFPNSettings) -> Neck:
    from .nas_fpn import NASFPN

    return NASFPN(spec, settings)


def _vit_pyramid(spec: PyramidSpec, settings: ViTPyramidSettings) -> Neck:
    from .vit_pyramid import ViTPyramid

    return ViTPyramid(spec, settings)


def _tap_attention(spec: PyramidSpec, settings: TapAttentionSettings) -> Neck:
    from .tap_attention import TapAttention

    return TapAttention(spec, settings)


def _hybrid(spec: PyramidSpec, settings: HybridSettings) -> Neck:
    from .hybrid import Hybrid

    return Hybrid(spec, settings)


def _identity(spec: PyramidSpec, settings: IdentitySettings) -> Neck:
    from .identity import Identity

    return Identity(spec, settings)


NECKS: Mapping[str, NeckFamily] = {
    "fpn": NeckFamily(_fpn, FPNSettings),
    "pafpn": NeckFamily(_pafpn, PAFPNSettings),
    "bifpn": NeckFamily(_bifpn, BiFPNSettings),
    "nas-fpn": NeckFamily(_nas_fpn, NASFPNSettings),
    "vit-pyramid": NeckFamily(_vit_pyramid, ViTPyramidSettings),
    "tap-attention": NeckFamily(_tap_attention, TapAttentionSettings),
    "hybrid": NeckFamily(_hybrid, HybridSettings),
    "identity": NeckFamily(_identity, IdentitySettings),
}
