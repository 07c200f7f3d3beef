"""What a detector finds in the samples of a source."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...cache.sampler import SampleId
from ...heads.checks import Auto
from ...heads.detector import Detector
from ...heads.types import Detections
from ..machines.devices import Precision, autocast
from ..machines.progress import progress_line
from ..sources.source import PyramidSource


def detect(
    detector: Detector,
    source: PyramidSource,
    batches: Sequence[Sequence[SampleId]],
    precision: Precision | Auto = "fp32",
    shown: bool = True,
) -> dict[int, Detections]:
    """What the detector finds in each sample, by image id; image px, on the CPU.

    The detector is to be in eval mode, and the source's backbone too. shown: with a progress line.
    """
    found: dict[int, Detections] = {}
    device = next(detector.parameters()).device
    total = sum(map(len, batches))
    with torch.no_grad(), progress_line("evaluate", total, shown=shown) as progress:
        for samples, placements, pyramid in source.load(batches):
            with autocast(device, precision):
                detections = detector.detections(pyramid(), placements)
            for (image_id, _), d in zip(samples, detections, strict=True):
                found[image_id] = d.to("cpu")
            progress.note(f"{progress.rate:.1f} images/s")
            progress.advance(len(samples))
    return found
