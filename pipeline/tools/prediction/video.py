"""The frames of a video file, upright and in order, decoded by PyAV (the extra `video`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ...dataset.images.decoding import MAX_PIXELS, ImageError

_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that was decoded. number: its number in the video, from 1 on."""

    number: int
    decoded: Any

    def image(self) -> Image.Image:
        """Return the frame as an upright RGB image. Raises ImageError."""
        if self.decoded.width * self.decoded.height > MAX_PIXELS:
            raise ImageError(f"frame {self.number}: more than {MAX_PIXELS} pixels")
        return upright(self.decoded.to_image(), self.decoded.rotation)


def upright(image: Image.Image, degrees: int) -> Image.Image:
    """Return an image turned counterclockwise, by the multiple of 90 degrees that is nearest."""
    turn = _TURNS.get(round(degrees / 90) * 90 % 360)
    return image if turn is None else image.transpose(turn)


def frames_of(path: Path, every: int = 1) -> Iterator[Frame]:
    """Yield the first frame of a video and every N-th one after it.

    Raises ImageError where it cannot be opened, or from a damaged place on.
    """
    import av

    number = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ImageError("it has no video, only sound")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for decoded in container.decode(stream):
                number += 1
                if (number - 1) % every == 0:
                    yield Frame(number, decoded)
    except (av.error.FFmpegError, OSError) as error:
        where = f"after frame {number}: " if number else ""
        raise ImageError(f"{where}{error.strerror or error}") from error
    if not number:
        raise ImageError("it has no frames")


def count_frames(path: Path, every: int = 1) -> int:
    """Return about how many frames `frames_of` will yield, 1 where the file does not say."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            count = stream.frames
            if not count and container.duration and stream.average_rate:
                count = round(container.duration / av.time_base * float(stream.average_rate))
    except (av.error.FFmpegError, OSError, IndexError):
        return 1
    return max(1, -(-count // every))
