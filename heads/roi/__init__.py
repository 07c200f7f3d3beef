"""The RoI heads, by name; torch is imported when one of them is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...cache.pyramid import PyramidSpec
from ..family import HeadFamily
from .settings import CascadeRCNNSettings, FasterRCNNSettings

if TYPE_CHECKING:
    from ..detector import Head


def _faster_rcnn(spec: PyramidSpec, classes: int, settings: FasterRCNNSettings) -> Head:
    from .faster_rcnn import FasterRCNN

    return FasterRCNN(spec, classes, settings)


def _cascade_rcnn(spec: PyramidSpec, classes: int, settings: CascadeRCNNSettings) -> Head:
    from .cascade_rcnn import CascadeRCNN

    return CascadeRCNN(spec, classes, settings)


ROI_HEADS: Mapping[str, HeadFamily] = {
    "faster-rcnn": HeadFamily(_faster_rcnn, FasterRCNNSettings),
    "cascade-rcnn": HeadFamily(_cascade_rcnn, CascadeRCNNSettings),
}
