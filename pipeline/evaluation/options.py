"""The options of an evaluation; the type, default and help of each are stated only at its field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ..command import (
    AnnotationsInstead,
    Checkpoint,
    Device,
    Format,
    OtherClasses,
    OtherNms,
    Split,
    Threads,
    UsedCheckpoint,
    cache_opt,
    opt,
)
from ..dataset.data_name import DataName, named
from ..zoo.option import run_opt
from .engines import FASTEST


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """The options of an evaluation, besides its run and its cache.

    second: a second backbone's cache of the same images, for a run that was trained on two. images: the
    folder that the cache was made from, for a run that trained its own backbone or adapters; the cache then
    says only which images to use, and how they become canvases. weights: the weights of a backbone with
    adapters, as at extraction, where that took a file. checkpoint: "best" or "last". class_embeddings:
    vectors of the classes of the annotations, which need not be those of the training, for a run that was
    trained with such vectors. nms: another head.nms than the run's. compare: another run of the same classes,
    on the same images. engine: the engine that computes AP, one of ENGINES.
    """

    second: Annotated[
        Path | None, cache_opt("the second backbone's cache, for a run trained on two", "--with")
    ] = None
    annotations: AnnotationsInstead = None
    format: Format = None
    split: Split = None
    images: Annotated[
        Path | None, opt("image folder, for a run that trained its backbone or adapters too")
    ] = None
    weights: Annotated[
        str | None,
        opt("weights file of the backbone, for a run with adapters, if extraction was given one"),
    ] = None
    class_embeddings: OtherClasses = None
    checkpoint: UsedCheckpoint = Checkpoint.best
    nms: OtherNms = None
    compare: Annotated[
        Path | None,
        run_opt("another run, to say how much better this one is, and how certain that is"),
    ] = None
    device: Device = "auto"
    threads: Threads = None
    engine: Annotated[str, opt("library that computes AP: faster-coco-eval or pycocotools")] = (
        FASTEST
    )

    @property
    def data(self) -> DataName | None:
        """The data set of the annotations, None for those of the cache. Raises InputError."""
        return named(self.annotations, self.format, self.split)
