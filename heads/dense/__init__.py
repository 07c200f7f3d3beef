"""The dense heads, by name; torch is imported when one of them is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...cache.pyramid import PyramidSpec
from ..family import HeadFamily
from .settings import FCOSSettings, RetinaNetSettings, TALSettings

if TYPE_CHECKING:
    from ..detector import Head


def _retinanet(spec: PyramidSpec, classes: int, settings: RetinaNetSettings) -> Head:
    from .retinanet import RetinaNet

    return RetinaNet(spec, classes, settings)


def _fcos(spec: PyramidSpec, classes: int, settings: FCOSSettings) -> Head:
    from .fcos import FCOS

    return FCOS(spec, classes, settings)


def _tal(spec: PyramidSpec, classes: int, settings: TALSettings) -> Head:
    from .tal import TAL

    return TAL(spec, classes, settings)


DENSE_HEADS: Mapping[str, HeadFamily] = {
    "retinanet": HeadFamily(_retinanet, RetinaNetSettings),
    "fcos": HeadFamily(_fcos, FCOSSettings),
    "tal": HeadFamily(_tal, TALSettings),
}
