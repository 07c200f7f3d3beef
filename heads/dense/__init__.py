"""The dense heads, by name."""

from collections.abc import Mapping

from ..family import HeadFamily
from .fcos import FCOS, FCOSSettings
from .retinanet import RetinaNet, RetinaNetSettings
from .tal import TAL, TALSettings

DENSE_HEADS: Mapping[str, HeadFamily] = {
    "retinanet": HeadFamily(RetinaNet, RetinaNetSettings),
    "fcos": HeadFamily(FCOS, FCOSSettings),
    "tal": HeadFamily(TAL, TALSettings),
}
