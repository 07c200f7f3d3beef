"""The result of a prediction, and the lines that say what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ....cache.wording import counted
from ...machines.progress import shown_rate


@dataclass(frozen=True, slots=True)
class PredictSummary:
    """The result of a prediction.

    out: the folder with its files. images, detections: their numbers, those of earlier calls included.
    drawn: the number of detections that reach the thresholds of their classes. threshold: these, as text.
    failed: why an image could not be predicted, by path. new: the number of images that this call predicted.
    milliseconds: the mean time of an image, by stage. rate: images per second. written: files and folders.
    """

    out: Path
    images: int
    detections: int
    drawn: int
    threshold: str
    failed: dict[str, str] = field(default_factory=dict)
    new: int = 0
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    rate: float = 0.0
    written: tuple[str, ...] = ()


def lines_of(summary: PredictSummary) -> Iterator[str]:
    """Yield the last lines of the command: what there is and where, and how long an image took."""
    if not summary.new:
        yield f"{summary.out}: every image was done before; --overwrite starts anew"
    written = ", ".join(summary.written)
    images, detections = counted(summary.images, "image"), counted(summary.detections, "detection")
    drawn = f"({summary.drawn} >= {summary.threshold})"
    yield f"{images}, {detections} {drawn} in {summary.out}: {written}"
    if summary.new:
        stages = ", ".join(f"{name} {ms:.1f}" for name, ms in summary.milliseconds.items())
        yield f"{shown_rate(summary.rate, 'images/s')}; ms an image: {stages}"
