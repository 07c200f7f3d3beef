"""The images to predict, with their displayed names, the names of their outputs and their annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ....cache.errors import InputError
from ...dataset.annotations import Annotations, ImageBoxes
from ...dataset.data_name import DataName
from ...dataset.images.names import folded
from .inputs import is_video
from .naming import output_names


@dataclass(frozen=True, slots=True)
class Job:
    """An image file to predict, or a video.

    shown: its displayed name. image_id: its id in the annotations, without them its number from 1 on; of a
    video, that of its first frame where videos before it have none. name: the path of its outputs, without a
    suffix. hw, objects: its size in px and its objects, None without annotations.
    """

    path: Path
    shown: str
    image_id: int
    name: str
    hw: tuple[int, int] | None = None
    objects: ImageBoxes | None = None

    @property
    def is_video(self) -> bool:
        """Return whether the file is a video, whose frames are predicted."""
        return is_video(self.path)

    def frame(self, number: int, image_id: int) -> Job:
        """Return the job of a frame of a video. number: that of the frame in the video, from 1 on."""
        name = f"{self.name}/{number:06d}"
        return Job(self.path, name, image_id, name)


def find_jobs(
    files: Sequence[tuple[Path, str]],
    suffix: str,
    annotations: Annotations | None = None,
    source: DataName | None = None,
) -> list[Job]:
    """Return a job for each file, videos last, with its annotation if there are annotations.

    files: their paths and displayed names. suffix: that of the pictures. source: the name of the annotations.
    Raises InputError before anything is computed.
    """
    files = sorted(files, key=lambda file: is_video(file[0]))
    shown = [name for _, name in files]
    _refuse_twice("name", shown)
    videos = [name for path, name in files if is_video(path)]
    names = output_names(shown, suffix, videos)
    jobs = [
        Job(path, text, number, name)
        for number, ((path, text), name) in enumerate(zip(files, names, strict=True), start=1)
    ]
    if annotations is not None:
        jobs = [_with_annotations(job, annotations, source) for job in jobs]
    _refuse_twice("image id", [str(job.image_id) for job in jobs])
    return jobs


def _refuse_twice(what: str, values: Sequence[str]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise InputError(
            f"two of the files have the same {what} ({twice[0]}); name each file once, or predict them "
            "separately"
        )


def _with_annotations(job: Job, annotations: Annotations, source: DataName | None) -> Job:
    """Return the job with the annotated image whose file name is the longest suffix of its path.

    A name that only `folded` makes a suffix is the second choice.
    """
    parts = job.path.absolute().parts
    suffixes = ["/".join(parts[k:]) for k in range(1, len(parts))]
    exact, loose = annotations.named, annotations.named_loosely
    found = (
        names[s]
        for names, of in ((exact, str), (loose, folded))
        for s in map(of, suffixes)
        if s in names
    )
    image = next(found, None)
    if image is None:
        raise InputError(
            f"{job.path}: {source} names no such image; leave out the file or --annotations"
        )
    return replace(job, image_id=image.id, hw=image.hw, objects=annotations.of_image(image.id))
