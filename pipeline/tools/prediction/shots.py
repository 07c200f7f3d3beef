"""The images to look at, one after another: image files, then the frames of videos."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...dataset.images.decoding import ImageError, load_image, open_photograph
from ...dataset.images.photographs import Photograph
from ...machines.progress import ProgressLine, progress_line
from .jobs import Job
from .stages import Stages
from .video import Frame, count_frames, frames_of


class Shot(NamedTuple):
    """An image that can be looked at, as a whole or in windows."""

    job: Job
    photograph: Photograph


@dataclass(frozen=True, slots=True)
class Shots:
    """The images that are not done.

    jobs: all files, videos last. done: the names of images and frames that need not be looked at. videos: the
    number of frames of each video that is done. bits: how many bits deep pixels have. failed: why a file
    could not be read, by path; the reader may add to it. ended: called with a video and the number of its
    frames, where none of these failed. tiled: whether images are looked at in windows, and may be large.
    """

    jobs: Sequence[Job]
    done: frozenset[str]
    videos: Mapping[str, int]
    every: int
    bits: int
    stages: Stages
    failed: dict[str, str]
    ended: Callable[[Job, int], None]
    tiled: bool = False

    def __iter__(self) -> Iterator[Shot]:
        """Yield the images under a progress line."""
        images = [job for job in self.jobs if not job.is_video]
        with progress_line("predict", self._total(), len(self.done)) as progress:
            for job in images:
                if job.shown not in self.done:
                    yield from self._image(job)
                    self._advance(progress)
            number = len(images) + 1
            for job in self.jobs[len(images) :]:
                if job.shown in self.videos:
                    number += self.videos[job.shown]
                else:
                    number += yield from self._frames(job, number, progress)

    def _total(self) -> int:
        """Return the number of images, as far as it is known."""
        counts = [1] * sum(not job.is_video for job in self.jobs)
        for job in self.jobs[len(counts) :]:
            counts.append(self.videos.get(job.shown) or count_frames(job.path, self.every))
        return sum(counts)

    def _image(self, job: Job) -> Iterator[Shot]:
        try:
            with self.stages.timed("decode"):
                photograph = self._photograph(job)
        except ImageError as error:
            self.failed[str(job.path)] = str(error)
        else:
            yield Shot(job, photograph)

    def _photograph(self, job: Job) -> Photograph:
        if self.tiled:
            return open_photograph(job.path, self.bits, job.hw)
        return Photograph.of(*load_image(job.path, job.hw, self.bits))

    def _frames(
        self, video: Job, first_id: int, progress: ProgressLine
    ) -> Generator[Shot, None, int]:
        """Yield the frames of a video that are not done, and return the number of all of them."""
        count, failed = 0, len(self.failed)
        frames = frames_of(video.path, self.every)
        try:
            while (frame := self._next(frames)) is not None:
                job = video.frame(frame.number, first_id + count)
                count += 1
                if job.shown not in self.done:
                    with self.stages.timed("decode"):
                        image = frame.image()
                    yield Shot(job, Photograph.of(image))
                    self._advance(progress)
        except ImageError as error:
            self.failed[str(video.path)] = str(error)
        if len(self.failed) == failed:
            self.ended(video, count)
        return count

    def _next(self, frames: Iterator[Frame]) -> Frame | None:
        with self.stages.timed("decode"):
            return next(frames, None)

    def _advance(self, progress: ProgressLine) -> None:
        progress.advance(unit="images/s")
