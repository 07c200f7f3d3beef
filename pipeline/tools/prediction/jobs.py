"""Which files are to be predicted, under which names, and what annotations know of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....cache.errors import InputError
from ...dataset.annotations import Annotations, ImageBoxes, load_annotations
from ...runs.info import RunInfo

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"}
)


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


def find_images(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """(path, name to show: below the folder that was given) of every image, each once."""
    files: dict[Path, str] = {}
    for path in paths:
        if path.is_file():
            files.setdefault(path, path.name)
        elif path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
            for p in inside:
                files.setdefault(p, p.relative_to(path).as_posix())
        else:
            raise InputError(f"{path}: no such file or folder")
    if not files:
        raise InputError(
            f"no images in {', '.join(map(str, paths))}; known: {', '.join(sorted(SUFFIXES))}"
        )
    return list(files.items())
