"""The options of `fdet dataset split`; the type, default and help of each are stated only at its field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ....heads.ranges import between
from ...command import opt

# The word of --group-by that stands for the folder of an image.
FOLDER = "folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitOptions:
    """The options of `fdet dataset split`; training gets what validation and test leave."""

    val: Annotated[float, between(0, 1), opt("share of the images for validation")] = 0.2
    test: Annotated[float, between(0, 1), opt("share of the images for a test set")] = 0.0
    seed: Annotated[int, opt("seed: the same one makes the same split")] = 0
    group_by: Annotated[
        str | None,
        opt(
            "also keep together images of one folder ('folder'), or those in whose names this regular "
            "expression finds the same text, e.g. 'patient\\d+'; its groups (...), where it has any"
        ),
    ] = None
