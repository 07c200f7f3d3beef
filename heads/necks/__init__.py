"""The necks, by name."""

from collections.abc import Mapping

from ..family import NeckFamily
from .fpn import FPN, FPNSettings

NECKS: Mapping[str, NeckFamily] = {"fpn": NeckFamily(FPN, FPNSettings)}
