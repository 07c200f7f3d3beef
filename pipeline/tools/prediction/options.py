"""The options of a prediction; the type, default and help of each are stated only at its field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from ....cache.errors import InputError, did_you_mean
from ....heads.ranges import at_least
from ...command import (
    FORMAT,
    MACHINE,
    BackboneWeights,
    Checkpoint,
    Device,
    OtherClasses,
    OtherNms,
    SecondWeights,
    Split,
    UsedCheckpoint,
    opt,
)
from ...dataset.data_name import DataName, named
from ...dataset.tiling_option import NONE, Overlap, TilesOrNone, Whole, check_tiles
from ...runs.threshold_option import AUTO, Auto, check_threshold

# The kinds of pictures, and the forms in which results are written.
Pictures = Literal["none", "jpg", "png"]
ResultFormat = Literal["coco", "yolo", "voc", "csv", "jsonl"]


# The groups of options in the help.
_IMAGES, _RESULTS = "Images", "Results"


def _one_of(choices: Any, help: str) -> Any:
    """Return an option with some choices, which `check_choices` checks, in one line."""
    return opt(
        f"{help}: {', '.join(get_args(choices))}", group=_RESULTS, parser=str, metavar="NAME"
    )


def _threshold(text: str) -> float | Auto:
    """Return the value of --threshold; anything but a number stays a text, which `check_choices` refuses."""
    try:
        return float(text)
    except ValueError:
        return cast(Auto, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """The options of a prediction, besides its run, its images and its folder.

    class_embeddings: vectors of other classes, for a run that was trained with class embeddings. The classes
    are then those of the annotations, found by name in the file, or without annotations all in the file,
    numbered from 1 on. tiles, overlap, whole: how large images are cut; None stands for the tiles that the
    run was trained on. checkpoint: "best" or "last". threshold: a score, or "auto".
    """

    recursive: Annotated[
        bool, opt("look into subfolders too", "--recursive/--no-recursive", group=_IMAGES)
    ] = False
    every: Annotated[
        int,
        at_least(1),
        opt("take every N-th frame of a video, and N-th file of a folder", group=_IMAGES),
    ] = 1
    tiles: TilesOrNone = None
    overlap: Overlap = None
    whole: Whole = False
    format: Annotated[
        ResultFormat,
        _one_of(ResultFormat, "form of the results, besides detections.jsonl"),
    ] = "coco"
    pictures: Annotated[
        Pictures, _one_of(Pictures, "format of the pictures with the detections")
    ] = "jpg"
    threshold: Annotated[
        float | Auto,
        opt(
            f"lowest score that is drawn: 0 to 1, or {AUTO}, the best of each class by `fdet evaluate`",
            *("--threshold", "--draw-above"),
            group=_RESULTS,
            parser=_threshold,
            metavar=f"SCORE|{AUTO}",
        ),
    ] = AUTO
    save_crops: Annotated[
        bool, opt("save what is in each box that is drawn, by class", group=_RESULTS)
    ] = False
    overwrite: Annotated[
        bool, opt("delete the prediction in the folder, and start anew", group=_RESULTS)
    ] = False
    annotations: Annotated[
        Path | None,
        opt("data set whose ids to use, and whose boxes to draw next to the detections"),
    ] = None
    annotations_format: Annotated[str | None, opt(FORMAT)] = None
    split: Split = None
    weights: BackboneWeights = None
    second_weights: SecondWeights = None
    class_embeddings: OtherClasses = None
    checkpoint: UsedCheckpoint = Checkpoint.best
    nms: OtherNms = None
    device: Device = "auto"
    threads: Annotated[
        int | None, opt("torch threads on a CPU; default: the cache's", group=MACHINE)
    ] = None

    @property
    def data(self) -> DataName | None:
        """The data set of the annotations, None without one. Raises InputError."""
        if self.annotations is None and self.annotations_format is not None:
            raise InputError(
                f"--annotations-format {self.annotations_format}: it goes with --annotations; leave it out"
            )
        return named(self.annotations, self.annotations_format, self.split)

    def check_choices(self) -> None:
        """Raise InputError for a threshold, tiles, or a format of results or pictures that cannot be."""
        check_threshold("--threshold", self.threshold)
        check_tiles(self.tiles, self.overlap, self.whole, NONE)
        formats, pictures = get_args(ResultFormat), get_args(Pictures)
        if self.pictures not in pictures:
            raise InputError(f"--pictures {self.pictures!r}{did_you_mean(self.pictures, pictures)}")
        if self.format not in formats:
            raise InputError(
                f"--format {self.format!r}: expected {', '.join(formats)}, the form of the results; that of "
                "the annotations is --annotations-format"
            )
