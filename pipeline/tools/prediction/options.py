"""The options of a prediction; the type, default and help of each are stated only at its field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ....heads.ranges import between
from ...command import Checkpoint, Device, Format, OtherClasses, Split, UsedCheckpoint, opt
from ...dataset.data_name import DataName, named


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """The options of a prediction, besides its run, its images and its folder.

    class_embeddings: vectors of other classes, for a run that was trained with class embeddings. The classes
    are then those of the annotations, found by name in the file, or without annotations all in the file,
    numbered from 1 on. checkpoint: "best" or "last".
    """

    annotations: Annotated[
        Path | None,
        opt("data set whose ids to use, and whose boxes to draw next to the detections"),
    ] = None
    format: Format = None
    split: Split = None
    weights: Annotated[
        str | None, opt("weights file of the backbone, if extraction was given one")
    ] = None
    second_weights: Annotated[
        str | None,
        opt("weights file of a second backbone, if extraction was given one", "--with-weights"),
    ] = None
    class_embeddings: OtherClasses = None
    checkpoint: UsedCheckpoint = Checkpoint.best
    draw_above: Annotated[float, between(0, 1), opt("lowest score that is drawn")] = 0.3
    device: Device = "auto"
    threads: Annotated[int | None, opt("torch threads on a CPU; default: the cache's")] = None

    @property
    def data(self) -> DataName | None:
        """The data set of the annotations, None without one. Raises InputError."""
        return named(self.annotations, self.format, self.split)
