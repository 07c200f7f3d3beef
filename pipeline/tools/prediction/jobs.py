"""Which files are to be predicted, under which names, and what annotations know of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....cache.errors import InputError
from ...dataset.annotations import Annotations, ImageBoxes, load_annotations
from ...runs.info import RunInfo


@dataclass(frozen=True, slots=True)
class Job:
    """A file, the name to show it by, and what the annotations know of it where there are any."""

    path: Path
    shown: str
    image_id: int
    hw: tuple[int, int] | None = None
    objects: ImageBoxes | None = None

    @property
    def picture(self) -> str:
        """With the file's own suffix kept, so that a.jpg and a.webp stay apart."""
        return self.shown if self.shown.endswith(".png") else f"{self.shown}.png"


def find_jobs(files: Sequence[tuple[Path, str]], info: RunInfo, path: Path | None) -> list[Job]:
    """Raises InputError before anything is computed."""
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
            raise InputError(f"two of the files have the same {what} ({twice[0]}); give them apart")
    return jobs


def _with_annotations(job: Job, annotations: Annotations, source: Path) -> Job:
    """The annotated image is the one whose file name is the longest end of the path."""
    parts = job.path.absolute().parts
    ends = ("/".join(parts[k:]) for k in range(1, len(parts)))
    image = next((annotations.named[end] for end in ends if end in annotations.named), None)
    if image is None:
        raise InputError(
            f"{job.path}: {source} names no such image; leave it out, or --annotations"
        )
    return Job(job.path, job.shown, image.id, image.hw, annotations.of_image(image.id))
