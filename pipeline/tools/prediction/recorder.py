"""What is found is put on the disk, image by image: its line first, then its pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from PIL import Image

from ....heads.types import Detections
from ...dataset.images.decoding import show_photograph
from ...dataset.images.photographs import Photograph
from ...evaluation.coco import to_coco_results
from ...pictures.text import legible_names
from .drawing import crops_of, encoded, picture_of
from .files import CROPS, PICTURES, clear, put
from .jobs import Job
from .journal import Journal, Line, rewrite
from .naming import fitting, folder_names
from .plan import Kept, Plan
from .state import State


class Recorder:
    """Keeps what is found in the folder of a prediction, which the caller holds.

    Nothing is changed there before the first image is found in.
    """

    def __init__(self, plan: Plan, kept: Kept | None) -> None:
        self._plan, self._kept = plan, kept
        known = plan.known
        self._names = legible_names(tuple(known.class_names), tuple(known.class_ids))
        self._folders = folder_names(known.class_names, known.class_ids)
        self._journal: Journal | None = None
        self.state: State = plan.state if kept is None else kept.state

    def add(self, job: Job, photograph: Photograph, found: Detections) -> None:
        """Keep what was found in an image. Raises StorageError."""
        crops = list(self._crops(job, photograph, found)) if self._plan.options.save_crops else []
        line = self._line(job, photograph, found, [name for name, _ in crops])
        self._opened().append(line)
        if line.picture is not None:
            put(self._plan.out, line.picture, self._picture(job, photograph, found))
        for name, pixels in crops:
            put(self._plan.out, name, encoded(pixels, "jpg"))

    def video_done(self, job: Job, frames: int) -> None:
        """Keep that all frames of a video are done. Raises StorageError."""
        self._opened()
        self.state = self.state.with_video(job.shown, frames)
        self.state.write(self._plan.out)

    def close(self) -> None:
        """Close the file of the lines. Raises StorageError."""
        if self._journal is not None:
            self._journal.close()

    def _opened(self) -> Journal:
        """Return the open file of the lines, once the folder is that of this prediction."""
        if self._journal is None:
            out, kept = self._plan.out, self._kept
            if kept is None:
                clear(out)
            elif kept.damaged:
                rewrite(out, lambda line: line.file_name in kept.done)
            self.state = self.state.outdated()
            self.state.write(out)
            self._journal = Journal(out)
        return self._journal

    def _line(
        self, job: Job, photograph: Photograph, found: Detections, crops: Sequence[str]
    ) -> Line:
        known, hw = self._plan.known, photograph.hw
        named = dict(zip(known.class_ids, known.class_names, strict=True))
        results = to_coco_results({job.image_id: found}, known.class_ids, {job.image_id: hw})
        detections = tuple(
            {
                **{name: value for name, value in result.items() if name != "image_id"},
                "category_name": named[result["category_id"]],
            }
            for result in results
        )
        kind = self._plan.options.pictures
        picture = None
        if kind != "none":
            picture = f"{PICTURES}/{fitting(job.name, f'.{kind}', job.image_id)}"
        shown = job.shown
        return Line(
            job.image_id,
            shown,
            job.name,
            hw,
            photograph.sha256,
            detections,
            picture,
            tuple(crops),
        )

    def _picture(self, job: Job, photograph: Photograph, found: Detections) -> bytes:
        plan, image, objects = self._plan, show_photograph(photograph), job.objects
        factor = image.width / photograph.hw[1]
        if factor != 1:
            found = replace(found, boxes=found.boxes * factor)
            objects = objects and replace(objects, boxes=objects.boxes * factor)
        return picture_of(
            image, found, plan.thresholds, self._names, objects, plan.options.pictures
        )

    def _crops(
        self, job: Job, photograph: Photograph, found: Detections
    ) -> Iterator[tuple[str, Image.Image]]:
        """Yield the name and the pixels of each crop, which are numbered within their class."""
        numbers: Counter[int] = Counter()
        for label, pixels in crops_of(photograph, found, self._plan.thresholds):
            numbers[label] += 1
            name = fitting(job.name, ".jpg", job.image_id, f"_{numbers[label]}")
            yield f"{CROPS}/{self._folders[label]}/{name}", pixels
