"""The RoI heads, by name."""

from collections.abc import Mapping

from .faster_rcnn import FasterRCNN, FasterRCNNSettings

ROI_HEADS: Mapping[str, tuple[type[FasterRCNN], type[FasterRCNNSettings]]] = {
    "faster-rcnn": (FasterRCNN, FasterRCNNSettings)
}
