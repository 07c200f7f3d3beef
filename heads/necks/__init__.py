"""The necks, by name."""

from collections.abc import Mapping

from ..family import NeckFamily
from .bifpn import BiFPN, BiFPNSettings
from .fpn import FPN, FPNSettings
from .identity import Identity, IdentitySettings
from .nas_fpn import NASFPN, NASFPNSettings
from .pafpn import PAFPN, PAFPNSettings
from .vit_pyramid import ViTPyramid, ViTPyramidSettings

NECKS: Mapping[str, NeckFamily] = {
    "fpn": NeckFamily(FPN, FPNSettings),
    "pafpn": NeckFamily(PAFPN, PAFPNSettings),
    "bifpn": NeckFamily(BiFPN, BiFPNSettings),
    "nas-fpn": NeckFamily(NASFPN, NASFPNSettings),
    "vit-pyramid": NeckFamily(ViTPyramid, ViTPyramidSettings),
    "identity": NeckFamily(Identity, IdentitySettings),
}
