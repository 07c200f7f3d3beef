"""The image files to predict, with their displayed names and their annotations."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....cache.errors import InputError
from ...dataset.annotations import Annotations, ImageBoxes
from ...dataset.data_name import DataName
from ...dataset.data_set import load_annotations
from ...dataset.names import folded
from ...runs.info import RunInfo

# The maximum length in bytes of a file's name on common file systems.
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Job:
    """An image file to predict.

    shown: its displayed name. image_id: its id in the annotations, without them its number from 1 on.
    hw, objects: its size in px and its objects, None without annotations.
    """

    path: Path
    shown: str
    image_id: int
    hw: tuple[int, int] | None = None
    objects: ImageBoxes | None = None

    @property
    def picture(self) -> str:
        """The name of the picture, with the suffix of the file, so that a.jpg and a.webp do not collide.

        Where the file system does not take so long a name, it is the id of the image.
        """
        name = self.shown if self.shown.endswith(".png") else f"{self.shown}.png"
        return (
            name if len(os.fsencode(Path(name).name)) <= _LONGEST_NAME else f"{self.image_id}.png"
        )


def find_jobs(files: Sequence[tuple[Path, str]], info: RunInfo, path: DataName | None) -> list[Job]:
    """Return a job for each file, with its annotation in the file `path` if one is given.

    files: their paths and displayed names. Raises InputError before anything is computed.
    """
    jobs = [Job(file, shown, number) for number, (file, shown) in enumerate(files, start=1)]
    if path is not None:
        annotations, _ = load_annotations(path, outlines=info.config.masks)
        info.check_classes(annotations, str(path))
        jobs = [_with_annotations(job, annotations, path) for job in jobs]
    for what, values in (
        ("image id", [str(job.image_id) for job in jobs]),
        ("picture", [job.picture for job in jobs]),
    ):
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise InputError(
                f"two of the files have the same {what} ({twice[0]}); predict them separately"
            )
    return jobs


def _with_annotations(job: Job, annotations: Annotations, source: DataName) -> Job:
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
    return Job(job.path, job.shown, image.id, image.hw, annotations.of_image(image.id))
