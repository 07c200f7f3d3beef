"""The paper's measurements of frozen backbones (arXiv 2204.00484)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PaperPoint:
    """A detector on a frozen ResNet-101, on COCO (arXiv 2204.00484).

    share: the share of all parameters that is trained. gain: its AP minus that of the same detector with a
    fine-tuned backbone.
    """

    name: str
    share: float
    gain: float


PAPER = (
    PaperPoint("FPN", 0.261, -6.5),
    PaperPoint("NAS-FPN", 0.399, 0.1),
    PaperPoint("NAS-FPN, Cascade R-CNN", 0.536, 0.7),
)
