"""The sources of a run's pyramids, by the name that --source takes. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ...cache.format.header import CacheHeader
    from .live import Backbone
    from .source import PyramidSource

CACHED, TAIL = "cached", "tail"
# Where samples stay after their first reading.
Residence = Literal["auto", "ram", "device", "none"]

MakeSource = Callable[["CacheHeader", Path, "Backbone", int], "PyramidSource"]


def _live(header: CacheHeader, images: Path, backbone: Backbone, workers: int) -> PyramidSource:
    from .live import LiveSource

    return LiveSource(header, images, backbone, workers)


@dataclass(frozen=True, slots=True)
class SourceKind:
    """A row of SOURCES.

    help: what gives the pyramids, in words. colour: its colour in plots. live: whether images pass through a
    backbone in every step. tail: whether cached maps pass through the last stages of one instead. trains:
    whether a live backbone is trained too. fresh: whether it begins with random weights. make: a function
    that builds a live source from the header of the cache that is its recipe, the folder of images, the
    backbone and the number of workers.
    """

    help: str
    colour: str
    live: bool = False
    tail: bool = False
    trains: bool = False
    fresh: bool = False
    make: MakeSource = _live

    @property
    def runs_backbone(self) -> bool:
        """Return whether a step runs a backbone, or the last stages of one."""
        return self.live or self.tail


# The colours are from Okabe and Ito's palette, so that colour-blind readers can tell them apart too.
SOURCES: Mapping[str, SourceKind] = {
    CACHED: SourceKind("maps from the cache", "#0072B2"),
    TAIL: SourceKind(
        "cached maps, and the stages of the backbone from backbone.train_from on, which are trained on them",
        "#56B4E9",
        tail=True,
    ),
    "online": SourceKind("the frozen backbone in the loop", "#D55E00", live=True),
    "finetune": SourceKind(
        "a backbone that is trained from stage backbone.train_from on",
        "#009E73",
        live=True,
        trains=True,
    ),
    "scratch": SourceKind(
        "a backbone that is trained from random weights",
        "#CC79A7",
        live=True,
        trains=True,
        fresh=True,
    ),
}
# The sources that read maps from caches, and so need no images.
ON_CACHES = tuple(name for name, kind in SOURCES.items() if not kind.live)
