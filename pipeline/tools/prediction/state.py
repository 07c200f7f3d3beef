"""prediction.json: what a prediction is made of, and how far its results are written.

It is published whole before the first line of detections.jsonl, carries its own sha256, and is data of
unknown origin when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from ....cache.disk.publish import publish_bytes
from ....cache.errors import CorruptCache
from ....cache.format.json_values import text_of, whole_of
from ....cache.format.sealed import digest_or_none, read_sealed, sealed_json
from ....cache.wording import counted, listed
from .options import ResultFormat

NAME = "prediction.json"
FORMAT = 1
MAX_BYTES = 2**28
_COLUMNS = "names", "ids", "bytes", "modified"


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is predicted: its displayed name, its id, its length in bytes and its time in ns."""

    name: str
    image_id: int
    bytes: int
    modified: int


@dataclass(frozen=True, slots=True)
class State:
    """The state of a prediction.

    run, weights: the sha256 of run.json and of the checkpoint. options: the options that results depend on,
    by flag. images: the files in their order. videos: the number of frames of each video that is done.
    formats: for each form of the results that was begun, whether it is complete.
    """

    run: str
    weights: str
    options: Mapping[str, str]
    images: tuple[Source, ...]
    videos: Mapping[str, int] = field(default_factory=dict)
    formats: Mapping[str, bool] = field(default_factory=dict)

    @classmethod
    def read(cls, out: Path) -> State | None:
        """Return the state in a folder, None where there is none. Raises CorruptCache, StorageError."""
        path = out / NAME
        if not path.exists():
            return None
        data = read_sealed(out, NAME, MAX_BYTES)
        try:
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']}, expected {FORMAT}")
            return cls(
                digest_or_none(data["run"]),
                digest_or_none(data["weights"]),
                {str(k): text_of(v) for k, v in data["options"].items()},
                tuple(map(_source, _rows(data["images"]))),
                {str(k): whole_of(v) for k, v in data["videos"].items()},
                _formats(data["formats"]),
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CorruptCache(f"{path}: unreadable ({error}); choose another --out") from error

    def write(self, out: Path) -> None:
        """Publish the state. Raises StorageError."""
        columns = zip(
            *((s.name, s.image_id, s.bytes, s.modified) for s in self.images), strict=True
        )
        data = {
            "format": FORMAT,
            "run": self.run,
            "weights": self.weights,
            "options": dict(self.options),
            "images": dict(zip(_COLUMNS, map(list, columns), strict=True)),
            "videos": dict(self.videos),
            "formats": dict(self.formats),
        }
        publish_bytes(out / NAME, sealed_json(data), existing="replace")

    def with_video(self, name: str, frames: int) -> State:
        """Return the state in which all frames of a video are done."""
        return replace(self, videos={**self.videos, name: frames})

    def with_format(self, name: str, *, complete: bool) -> State:
        """Return the state in which a form of the results is begun, or complete."""
        return replace(self, formats={**self.formats, name: complete})

    def outdated(self) -> State:
        """Return the state in which no form of the results is complete, since lines are to be added."""
        return replace(self, formats=dict.fromkeys(self.formats, False))

    def differences(self, now: State) -> list[str]:
        """Return what the prediction that is asked for now is made of instead; [] for the same."""
        found = []
        if self.run != now.run:
            found.append("it is of another run")
        elif self.weights != now.weights:
            found.append("it is of other weights")
        for flag in sorted({*self.options, *now.options}):
            before, after = (state.options.get(flag, "none") for state in (self, now))
            if before != after:
                found.append(f"{flag} was {before}, is {after}")
        return found + _other_images(self.images, now.images)


def _other_images(before: Sequence[Source], now: Sequence[Source]) -> list[str]:
    old, new = ({s.name: s.image_id for s in sources} for sources in (before, now))
    found = []
    for what, here, there in (("more", new, old), ("fewer", old, new)):
        names = [name for name in here if name not in there]
        if names:
            found.append(f"{counted(len(names), 'image')} {what} ({listed(names)})")
    renumbered = [name for name in new if name in old and old[name] != new[name]]
    if renumbered and not found:
        found.append(f"other ids of {counted(len(renumbered), 'image')} ({listed(renumbered)})")
    return found


def touched(before: State, now: State) -> list[str]:
    """Return the names of the files whose length or time has changed."""
    old = {s.name: s for s in before.images}
    return [s.name for s in now.images if s.name in old and s != old[s.name]]


def _rows(columns: Any) -> list[tuple[Any, ...]]:
    return list(zip(*(columns[name] for name in _COLUMNS), strict=True))


def _source(row: tuple[Any, ...]) -> Source:
    name, image_id, size, modified = row
    return Source(text_of(name), whole_of(image_id), whole_of(size), whole_of(modified))


def _formats(data: Any) -> dict[str, bool]:
    formats = {text_of(k): v for k, v in data.items()}
    if not formats.keys() <= set(get_args(ResultFormat)):
        raise ValueError(f"formats: {', '.join(formats)}")
    if not all(isinstance(v, bool) for v in formats.values()):
        raise TypeError("formats: expected true or false")
    return formats
