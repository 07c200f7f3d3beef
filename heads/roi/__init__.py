"""The RoI heads, by name."""

from collections.abc import Mapping

from ..family import HeadFamily
from .cascade_rcnn import CascadeRCNN, CascadeRCNNSettings
from .faster_rcnn import FasterRCNN, FasterRCNNSettings

ROI_HEADS: Mapping[str, HeadFamily] = {
    "faster-rcnn": HeadFamily(FasterRCNN, FasterRCNNSettings),
    "cascade-rcnn": HeadFamily(CascadeRCNN, CascadeRCNNSettings),
}
