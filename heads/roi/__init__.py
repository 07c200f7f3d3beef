"""The RoI heads, by name."""

from collections.abc import Mapping

from ..family import HeadFamily
from .faster_rcnn import FasterRCNN, FasterRCNNSettings

ROI_HEADS: Mapping[str, HeadFamily] = {"faster-rcnn": HeadFamily(FasterRCNN, FasterRCNNSettings)}
