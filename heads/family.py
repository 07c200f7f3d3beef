"""What the tables of necks and heads hold: how each is built, and the settings that it is built from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ..cache.pyramid import PyramidSpec
from .checks import check_range
from .detector import Head, Neck

Fusion = Literal["add", "concat"]


class NeckFamily(NamedTuple):
    """build: (cached levels, settings) -> neck. settings: their dataclass."""

    build: Callable[[PyramidSpec, Any], Neck]
    settings: type[NeckSettings]


class HeadFamily(NamedTuple):
    """build: (the neck's levels, classes, settings) -> head. settings: their dataclass."""

    build: Callable[[PyramidSpec, int, Any], Head]
    settings: type[HeadSettings]


@dataclass(frozen=True, slots=True)
class NeckSettings:
    """levels: names of the cached levels that are used, none for all. channels: of every level that comes
    out. min_level, max_level: of the output; level n has a stride of 2^n or the nearest there is.
    fusion: how levels of a second backbone are joined with those of the first, where there are two.
    """

    name: str = ""
    levels: tuple[str, ...] = ()
    channels: int = 96
    min_level: int = 3
    max_level: int = 7
    fusion: Fusion = "add"

    def __post_init__(self) -> None:
        check_range("neck.channels", self.channels, 1, 2**16)
        check_range("neck.min_level", self.min_level, 0, 20)
        check_range("neck.max_level", self.max_level, self.min_level, 20)


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """score_threshold, nms_iou, max_detections: of what is reported.

    normaliser: what the losses of an image are divided by, of heads that learn from every place: a
    number, so that every object weighs the same; "auto", that number from the training data, the mean over
    its images of the places that learn an object; "image", the image's own, so that every image weighs
    the same. Where nothing is known of the data, "auto" is "image".

    For long-tailed classes, class_balance: beta of the effective number of samples, by which an object's
    classification loss is weighed, 0 for no weights; federated: how many classes an image's
    classification loss knows of, those that were looked for in it first, 0 for all.
    """

    name: str = ""
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    max_detections: int = 100
    normaliser: float | Literal["auto", "image"] = "auto"
    class_balance: float = 0.0
    federated: int = 0

    def __post_init__(self) -> None:
        check_range("head.score_threshold", self.score_threshold, 0, 1)
        check_range("head.nms_iou", self.nms_iou, 0, 1)
        check_range("head.max_detections", self.max_detections, 1, 2**20)
        check_range("head.normaliser", self.normaliser, 1e-6)
        check_range("head.class_balance", self.class_balance, 0, 0.9999999)
        check_range("head.federated", self.federated, 0, 2**20)
