"""The settings of the query head, without torch, so that they can be checked before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ..family import HeadSettings
from ..ranges import at_least, between

ClassLoss = Literal["vfl", "mal"]
Regression = Literal["direct", "distribution"]


@dataclass(frozen=True, slots=True)
class QuerySettings(HeadSettings):
    """The settings of the query head. Queries have as many channels as the levels of the neck."""

    name: Literal["query"] = "query"
    queries: Annotated[
        int, between(1, 2**20), "queries, each of which finds at most one object of an image"
    ] = 100
    layers: Annotated[int, between(1, 64), "layers of the decoder"] = 3
    attention_heads: Annotated[
        int, between(1, 2**10), "heads of each attention, a divisor of neck.channels"
    ] = 8
    points: Annotated[
        int, between(1, 64), "points that each head of a query looks at, on each level"
    ] = 4
    ffn_channels: Annotated[
        int, between(1, 2**20), "channels between the two linear layers of a decoder layer"
    ] = 512
    regression: Annotated[
        Regression,
        "how a layer corrects boxes; direct: by four numbers, as RT-DETR; distribution: by a distribution "
        "over the correction of each side, as D-FINE",
    ] = "direct"
    reg_max: Annotated[
        int, between(4, 1024), "corrections of a distribution less one, an even number"
    ] = 32
    reg_scale: Annotated[
        float, at_least(1e-3), "D-FINE's factor of the corrections, which flattens their spacing"
    ] = 4.0
    up: Annotated[
        float, at_least(1e-3), "D-FINE's upper bound of the corrections but the two outermost"
    ] = 0.5
    class_loss: Annotated[
        ClassLoss,
        "the classification loss; vfl: varifocal loss; mal: DEIM's matchability-aware loss",
    ] = "vfl"
    class_weight: Annotated[float, at_least(0), "weight of the classification loss"] = 1.0
    box_weight: Annotated[float, at_least(0), "weight of the L1 loss of the boxes"] = 5.0
    giou_weight: Annotated[float, at_least(0), "weight of the GIoU loss of the boxes"] = 2.0
    fgl_weight: Annotated[
        float, at_least(0), "weight of D-FINE's fine-grained localisation loss"
    ] = 0.15
    ddf_weight: Annotated[
        float,
        at_least(0),
        "weight of D-FINE's decoupled distillation loss, from the last layer to those before it",
    ] = 1.5
    denoising: Annotated[
        int,
        between(0, 2**16),
        "noisy copies of an image's objects, at least one of each, and as many that are noisier, which "
        "training adds as queries; 0: none",
    ] = 100
    label_noise: Annotated[
        float, between(0, 1), "share of the noisy copies with a random label, doubled"
    ] = 0.5
    box_noise: Annotated[
        float, between(0, 10), "maximum noise of a copy's sides, in halves of its width and height"
    ] = 1.0
    groups: Annotated[
        int,
        between(0, 64),
        "times as many further queries in training, to which each object is matched that often, as "
        "H-DETR's one-to-many branch; 0: none",
    ] = 0
