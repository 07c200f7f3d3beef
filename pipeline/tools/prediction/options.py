"""The options of a prediction; the type, default and help of each are stated only at its field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from ....cache.errors import InputError, did_you_mean
from ....heads.ranges import at_least, between
from ...command import FORMAT, MACHINE, Checkpoint, Device, OtherClasses, Split, UsedCheckpoint, opt
from ...dataset.data_name import DataName, named

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """The options of a prediction, besides its run, its images and its folder.

    class_embeddings: vectors of other classes, for a run that was trained with class embeddings. The classes
    are then those of the annotations, found by name in the file, or without annotations all in the file,
    numbered from 1 on. checkpoint: "best" or "last".
    """

    recursive: Annotated[
        bool, opt("look into subfolders too", "--recursive/--no-recursive", group=_IMAGES)
    ] = False
    every: Annotated[
        int,
        at_least(1),
        opt("take every N-th frame of a video, and N-th file of a folder", group=_IMAGES),
    ] = 1
    format: Annotated[
        ResultFormat,
        _one_of(ResultFormat, "form of the results, besides detections.jsonl"),
    ] = "coco"
    pictures: Annotated[
        Pictures, _one_of(Pictures, "format of the pictures with the detections")
    ] = "jpg"
    draw_above: Annotated[
        float, between(0, 1), opt("lowest score that is drawn", group=_RESULTS)
    ] = 0.3
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
    weights: Annotated[
        str | None, opt("weights file of the backbone, if extraction was given one")
    ] = None
    second_weights: Annotated[
        str | None,
        opt("weights file of a second backbone, if extraction was given one", "--with-weights"),
    ] = None
    class_embeddings: OtherClasses = None
    checkpoint: UsedCheckpoint = Checkpoint.best
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
        """Raise InputError for a format of results or pictures that does not exist."""
        formats, pictures = get_args(ResultFormat), get_args(Pictures)
        if self.pictures not in pictures:
            raise InputError(f"--pictures {self.pictures!r}{did_you_mean(self.pictures, pictures)}")
        if self.format not in formats:
            raise InputError(
                f"--format {self.format!r}: expected {', '.join(formats)}, the form of the results; that of "
                "the annotations is --annotations-format"
            )
