"""The rows of the tables of necks and heads, and the settings that all of them share, without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from ..cache.pyramid import PyramidSpec
from .checks import check_range
from .ranges import at_least, between, check_fields

if TYPE_CHECKING:
    from .detector import Head, Neck

Fusion = Literal["add", "concat"]
# The norms and activations of norms.py, and those norms that suit the few images of a head's batches.
Norm = Literal["none", "gn", "gn32", "ln", "bn", "sync-bn", "frozen-bn"]
HeadNorm = Literal["none", "gn", "gn32"]
Activation = Literal["none", "relu", "leaky", "silu", "gelu"]
# What levels coarser than the cache's are made from (levels.py).
Extra = Literal["c", "p", "subsample"]
# The distance between neighbouring anchors of a level: its stride; or the canvas size divided by the
# map size, rounded down as in torchvision, which is too little where the stride does not divide the
# canvas.
Grid = Literal["stride", "canvas"]
GRID_HELP = (
    "distance between anchors; stride: that of their level; canvas: the canvas size over the map size, "
    "rounded down"
)
# Which boxes NMS compares.
Suppression = Literal["class", "agnostic"]
NMS_HELP = "IoU above which only the better of two boxes is reported"
CONVS_HELP = "convolutions of each of the two towers"


class NeckFamily(NamedTuple):
    """A kind of neck.

    build: a function from the cached levels and the settings to a neck, which imports torch when it is
    called. settings: the settings' dataclass.
    """

    build: Callable[[PyramidSpec, Any], Neck]
    settings: type[NeckSettings]


class HeadFamily(NamedTuple):
    """A kind of head.

    build: a function from the neck's levels, the number of classes and the settings to a head, which
    imports torch when it is called. settings: the settings' dataclass.
    """

    build: Callable[[PyramidSpec, int, Any], Head]
    settings: type[HeadSettings]


@dataclass(frozen=True, slots=True)
class NeckSettings:
    """The settings that all necks share."""

    name: str = ""
    levels: Annotated[tuple[str, ...], "cached levels to use, by name; empty: all"] = ()
    channels: Annotated[int, between(1, 2**16), "channels of every output level"] = 96
    min_level: Annotated[
        int,
        between(0, 20),
        "first output level; level n has a stride of 2^n, or the nearest available",
    ] = 3
    max_level: Annotated[int, between(0, 20), "last output level"] = 7
    fusion: Annotated[
        Fusion, "how the levels of a second backbone are joined with those of the first"
    ] = "add"

    def __post_init__(self) -> None:
        check_fields("neck", self)
        check_range("neck.max_level", self.max_level, self.min_level, 20)


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """The settings that all heads share.

    With a number as normaliser every object weighs the same, with "image" every image. Where nothing is known
    of the data, "auto" means "image".
    """

    name: str = ""
    score_threshold: Annotated[float, between(0, 1), "lowest score that is reported"] = 0.05
    max_detections: Annotated[int, between(1, 2**20), "maximum detections per image"] = 100
    normaliser: Annotated[
        float | Literal["auto", "image"],
        at_least(1e-6),
        "divisor of an image's losses, for heads that learn from every location; image: its own number of "
        "locations that learn an object; auto: the mean of that number over the training images",
    ] = "auto"
    class_balance: Annotated[
        float,
        between(0, 0.9999999),
        "beta of the effective number of samples, by which classification losses are weighted for "
        "long-tailed classes; 0: no weights",
    ] = 0.0
    federated: Annotated[
        int,
        between(0, 2**20),
        "number of classes that count in an image's classification loss, first those that were looked for "
        "in it; 0: all",
    ] = 0
    refine: Annotated[
        int,
        between(0, 4),
        "stages of a refiner, which learns to correct the boxes of a finished run (--start RUN); all of that "
        "run is frozen; 0: none",
    ] = 0

    def __post_init__(self) -> None:
        check_fields("head", self)

    @property
    def suppression(self) -> Suppression | Literal["none"]:
        """Which boxes NMS compares; none for a head whose detections do not pass through NMS."""
        return "none"


@dataclass(frozen=True, slots=True)
class NMSSettings(HeadSettings):
    """The settings of heads whose detections pass through NMS."""

    nms: Annotated[
        Suppression,
        "which boxes are compared by nms_iou; class: those of one class; agnostic: all, so that an object is "
        "found once where classes look alike",
    ] = "class"
    nms_iou: Annotated[float, between(0, 1), NMS_HELP] = 0.5

    @property
    def suppression(self) -> Suppression | Literal["none"]:
        """Which boxes NMS compares."""
        return self.nms
