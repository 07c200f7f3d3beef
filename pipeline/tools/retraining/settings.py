"""The settings of stage 2; the type, default and help of each are stated only at its field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ....heads.ranges import between
from ...command import TRAINING, opt


@dataclass(frozen=True, slots=True)
class RetrainSettings:
    """How stage 2 learns; None stands for the value of stage 1."""

    epochs: Annotated[int, opt("passes over the images", group=TRAINING)] = 12
    lr: Annotated[
        float, opt("peak learning rate of AdamW, which falls along a cosine", group=TRAINING)
    ] = 5e-4
    batch_size: Annotated[
        int | None, opt("images per step; default: the run's", group=TRAINING)
    ] = None
    class_balance: Annotated[
        float,
        opt("beta of the effective number of samples; 0 weighs all classes alike", group=TRAINING),
    ] = 0.999
    samplings: Annotated[
        int,
        between(1, 1000),
        opt(
            "box heads: how often RoIs are drawn in each view of an image; epochs take these draws in turn",
            group=TRAINING,
        ),
    ] = 1
    seed: Annotated[int | None, opt("seed; default: the run's", group=TRAINING)] = None
