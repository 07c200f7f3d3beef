"""What stage 2 is set by: type, default and help stand here alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ....heads.ranges import between
from ...command import TRAINING, opt


@dataclass(frozen=True, slots=True)
class RetrainSettings:
    """How stage 2 learns; what is None is as in stage 1."""

    epochs: Annotated[int, opt("passes over the images", group=TRAINING)] = 12
    lr: Annotated[
        float, opt("the peak learning rate of AdamW, falling along a cosine", group=TRAINING)
    ] = 5e-4
    batch_size: Annotated[int | None, opt("images a step; default: the run's", group=TRAINING)] = (
        None
    )
    class_balance: Annotated[
        float,
        opt("beta of the effective number of samples; 0 weighs all classes alike", group=TRAINING),
    ] = 0.999
    samplings: Annotated[
        int,
        between(1, 1000),
        opt(
            "of box heads: how often RoIs are drawn in each view of an image; epochs take them in turn",
            group=TRAINING,
        ),
    ] = 1
    seed: Annotated[int | None, opt("default: the run's", group=TRAINING)] = None
