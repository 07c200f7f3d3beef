"""The dense heads, by name."""

from collections.abc import Mapping

from ..family import HeadFamily
from .retinanet import RetinaNet, RetinaNetSettings

DENSE_HEADS: Mapping[str, HeadFamily] = {"retinanet": HeadFamily(RetinaNet, RetinaNetSettings)}
