"""The necks, by name."""

from collections.abc import Mapping

from .fpn import FPN, FPNSettings

NECKS: Mapping[str, tuple[type[FPN], type[FPNSettings]]] = {"fpn": (FPN, FPNSettings)}
