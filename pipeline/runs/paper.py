"""What is known of frozen backbones: the paper's measurements (arXiv 2204.00484), and those on small data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PaperPoint:
    """A detector on a frozen backbone.

    share: the share of all parameters that is trained. gain: its AP minus that of the same detector with a
    fine-tuned backbone.
    """

    name: str
    share: float
    gain: float


# On COCO, with a ResNet-101.
PAPER = (
    PaperPoint("FPN", 0.261, -6.5),
    PaperPoint("NAS-FPN", 0.399, 0.1),
    PaperPoint("NAS-FPN, Cascade R-CNN", 0.536, 0.7),
)
# On BCCD, 205 training images, with an EfficientNet-Lite0; one seed each (docs/claim.md).
SMALL_DATA = (
    PaperPoint("Faster R-CNN, FPN", 0.28, -1.1),
    PaperPoint("Faster R-CNN, NAS-FPN", 0.34, -0.9),
    PaperPoint("Cascade R-CNN, FPN", 0.50, -2.8),
    PaperPoint("Cascade R-CNN, NAS-FPN", 0.53, 0.3),
)
SMALL_IMAGES = 205
