"""detections.jsonl: one line an image, appended as it is found; a line that a kill cut off is dropped.

Each line carries its own sha256, so that what a power cut left is found out. The files of an image are
written after its line; where one of them is missing, the image is done again.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....cache.disk.files import is_below, open_below
from ....cache.disk.publish import published, storage_error
from ....cache.errors import CorruptCache
from ....cache.format.json_values import text_of, whole_of
from ....cache.format.sealed import SEAL, parse_sealed, sealed_json

NAME = "detections.jsonl"
# A mask takes some kB; no head gives more than some hundred detections.
MAX_LINE_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class Line:
    """The detections of an image, and the files that were written for it.

    name: the path of its outputs, without a suffix. hw: its size in px. file_sha256: that of its file, ""
    for a frame of a video. detections: each with category_id, category_name, bbox (x, y, width, height, in
    px) and score, and a segmentation where the head finds masks; best first. picture, crops: the files that
    were written for it, below the folder of the prediction.
    """

    image_id: int
    file_name: str
    name: str
    hw: tuple[int, int]
    file_sha256: str
    detections: tuple[Mapping[str, Any], ...]
    picture: str | None = None
    crops: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The files that were written for the image."""
        return (*(() if self.picture is None else (self.picture,)), *self.crops)

    def above(self, scores: Mapping[int, float]) -> list[Mapping[str, Any]]:
        """Return the detections that reach the score of their class, by its id."""
        return [one for one in self.detections if one["score"] >= scores[one["category_id"]]]

    def to_bytes(self) -> bytes:
        """Return the line, with its end."""
        return sealed_json(
            {
                "image_id": self.image_id,
                "file_name": self.file_name,
                "output_name": self.name,
                "height": self.hw[0],
                "width": self.hw[1],
                "file_sha256": self.file_sha256,
                "detections": list(self.detections),
                "picture": self.picture,
                "crops": list(self.crops),
            }
        )

    @classmethod
    def parse(cls, raw: bytes, path: Path) -> Line:
        """Return the line in bytes from `path`. Raises CorruptCache where it is not one."""
        data = parse_sealed(raw, path)
        try:
            picture = data["picture"]
            return cls(
                whole_of(data["image_id"]),
                text_of(data["file_name"]),
                _path(data["output_name"]),
                (whole_of(data["height"], 1), whole_of(data["width"], 1)),
                text_of(data["file_sha256"]),
                tuple(map(_detection, data["detections"])),
                None if picture is None else _path(picture),
                tuple(map(_path, data["crops"])),
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CorruptCache(f"{path}: not a line of fdet's ({error})") from error


def lines_in(out: Path) -> Iterator[Line | None]:
    """Yield the lines of a prediction; None for each that is damaged or was cut off.

    Raises CorruptCache where it is no file, StorageError.
    """
    for raw in _raw_lines(out):
        try:
            yield Line.parse(raw, out / NAME)
        except CorruptCache:
            yield None


def _raw_lines(out: Path) -> Iterator[bytes]:
    if not os.path.lexists(out / NAME):
        return
    with os.fdopen(open_below(out, NAME), "rb") as file:
        while raw := file.readline(MAX_LINE_BYTES):
            yield raw


def rewrite(out: Path, keep: Callable[[Line], bool]) -> None:
    """Replace the lines by those that are whole and to be kept. Raises StorageError."""
    with published(out / NAME, existing="replace") as file:
        for line in lines_in(out):
            if line is not None and keep(line):
                file.write(line.to_bytes())


class Journal:
    """The open end of detections.jsonl; `append` returns once the system has the whole line."""

    def __init__(self, out: Path) -> None:
        self._path = out / NAME
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._descriptor = os.open(self._path, flags, 0o666)
        except OSError as error:
            raise storage_error(self._path, error) from error

    def append(self, line: Line) -> None:
        """Append a line. Raises StorageError."""
        data = memoryview(line.to_bytes())
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            raise storage_error(self._path, error) from error

    def close(self) -> None:
        """Make all lines survive a power cut, and close the file. Raises StorageError."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise storage_error(self._path, error) from error
        finally:
            os.close(self._descriptor)


def _detection(data: Any) -> Mapping[str, Any]:
    if not isinstance(data, dict) or SEAL in data:
        raise TypeError("a detection is an object")
    whole_of(data["category_id"])
    text_of(data["category_name"])
    box, score = data["bbox"], data["score"]
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, [*box, score])):
        raise ValueError(f"bbox, score: expected numbers, got {box!r:.80}, {score!r:.40}")
    return data


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e15 and math.isfinite(value)


def _path(value: Any) -> str:
    if "\0" in text_of(value) or not is_below(value):
        raise ValueError(f"expected a path below the folder, got {value!r:.80}")
    return str(value)
