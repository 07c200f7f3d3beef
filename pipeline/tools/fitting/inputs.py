"""inputs.json: the annotations and the images that a fit is made from, as they were when it began.

fit.json keeps the sha256 of its bytes, which shows whether anything has changed; this file shows what.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....cache.disk.files import read_below
from ....cache.errors import FdetError
from ....cache.format.content import image_files
from ....cache.format.header import CacheHeader
from ....cache.format.manifest import Manifest
from ....cache.format.records import read_record
from ....cache.format.sealed import canonical_json, parse_json
from ...dataset.annotations import Annotations
from ...dataset.data_set import DataSet
from ...dataset.images import file_sha256
from .folder import TRAIN, VAL
from .options import FitOptions
from .parts import named_parts

NAME = "inputs.json"
FORMAT = 1
MAX_BYTES = 2**31
WHOLE = "data"
# The caches with the images of each part.
_CACHES = {WHOLE: (TRAIN, VAL), "train": (TRAIN,), "val": (VAL,)}

# A part and the name of an image in it.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PartInputs:
    """A part of the data.

    folder: that of its images, as the options give it. annotations: the sha256 of its COCO JSON. images: by
    the name of each image, the size of its file in bytes, the time of its last change in ns, and a digest of
    its objects.
    """

    folder: str
    annotations: str
    images: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The data that a fit is made from: "train" and "val", or "data" where they are to be split."""

    parts: Mapping[str, PartInputs]

    @property
    def images(self) -> int:
        """The number of images of all parts."""
        return sum(len(part.images) for part in self.parts.values())

    def to_bytes(self) -> bytes:
        """Return the bytes of inputs.json, which are the same for the same inputs."""
        parts = {
            name: {
                "folder": os.path.realpath(part.folder),
                "annotations": part.annotations,
                "images": dict(part.images),
            }
            for name, part in self.parts.items()
        }
        return canonical_json({"format": FORMAT, "parts": parts})

    @property
    def digest(self) -> str:
        """The sha256 of inputs.json."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def read(cls, out: Path, digest: str) -> Inputs | None:
        """Return what the file in a folder says, None where it is not the one with this sha256."""
        try:
            raw = read_below(out, NAME, MAX_BYTES)
            if hashlib.sha256(raw).hexdigest() != digest:
                return None
            data = parse_json(raw, out / NAME)
            return cls({name: PartInputs(**part) for name, part in data["parts"].items()})
        except (FdetError, LookupError, TypeError, AttributeError):
            return None


def inputs_of(options: FitOptions) -> Inputs:
    """Return what the options name, as it is now. Raises InputError."""
    train, val = named_parts(options)
    parts = {WHOLE: train} if val is None else {"train": train, "val": val}
    return Inputs({name: _part_inputs(part.read()) for name, part in parts.items()})


def _part_inputs(data: DataSet) -> PartInputs:
    assert data.images is not None
    annotations, folder = data.annotations, data.images
    images = {
        image.file_name: f"{_file_state(folder / image.file_name)} {objects}"
        for image, objects in zip(annotations.images, _digests(annotations), strict=True)
    }
    return PartInputs(str(folder), hashlib.sha256(data.raw).hexdigest(), images)


def _file_state(path: Path) -> str:
    """Return the size of a file and the time of its last change; "- -" where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return "- -"
    return f"{status.st_size} {status.st_mtime_ns}"


def _digests(annotations: Annotations) -> Iterator[str]:
    """Yield a digest of what is said of each image: its id, its size and its objects."""
    packed = annotations.packed
    for image, begin, end in zip(
        annotations.images, annotations.starts[:-1], annotations.starts[1:], strict=True
    ):
        hashed = hashlib.blake2b(repr((image.id, image.hw)).encode(), digest_size=8)
        for array in (packed.boxes, packed.labels, packed.crowd):
            hashed.update(array[begin:end].tobytes())
        yield hashed.hexdigest()


def differences(
    before: Inputs, now: Inputs, is_same: Callable[[Key], bool] = lambda image: False
) -> list[str]:
    """Describe what has changed, each with how many and the first one; [] for nothing.

    is_same: whether an image whose file has another time, and the same size, has the content of before.
    """
    if before.parts.keys() != now.parts.keys():
        were, are = (", ".join(inputs.parts) for inputs in (before, now))
        return [f"it was used as {were}, and would be as {are}"]
    changes = [*_image_changes(before, now, is_same)]
    if not changes:
        changes += [
            f"the annotations ({name})"
            for name, part in now.parts.items()
            if part.annotations != before.parts[name].annotations
        ]
    return changes + [
        f"the folder of the images ({part.folder}, it was {before.parts[name].folder})"
        for name, part in now.parts.items()
        if os.path.realpath(part.folder) != before.parts[name].folder
    ]


def _image_changes(before: Inputs, now: Inputs, is_same: Callable[[Key], bool]) -> Iterator[str]:
    old, new = _states(before), _states(now)
    both = [key for key in new if key in old]
    edited = [
        key
        for key in both
        if old[key][:2] != new[key][:2] and not (old[key][0] == new[key][0] and is_same(key))
    ]
    relabelled = [key for key in both if old[key][2] != new[key][2]]
    for what, keys in (
        ("added", [key for key in new if key not in old]),
        ("gone", [key for key in old if key not in new]),
        ("with another file", edited),
        ("with other objects", relabelled),
    ):
        if keys:
            yield _counted(keys, what)


def _states(inputs: Inputs) -> dict[Key, list[str]]:
    return {
        (name, image): f"{state}  ".split(" ")[:3]
        for name, part in inputs.parts.items()
        for image, state in part.images.items()
    }


def _counted(keys: Sequence[Key], what: str) -> str:
    first = keys[0][1]
    if len(keys) == 1:
        return f"1 image {what} ({first})"
    return f"{len(keys)} images {what} (the first: {first})"


def content_is_same(out: Path, now: Inputs) -> Callable[[Key], bool]:
    """Return a function that compares the file of an image with the one that was extracted in a folder.

    An image that was not extracted yet, or not completely, is never the same.
    """
    kept: dict[str, Mapping[str, str]] = {}

    def is_same(image: Key) -> bool:
        name, file = image
        for cache in _CACHES.get(name, ()):
            if cache not in kept:
                kept[cache] = _extracted(out / cache)
            if sha256 := kept[cache].get(file):
                return file_sha256(Path(now.parts[name].folder) / file) == sha256
        return False

    return is_same


def _extracted(cache: Path) -> Mapping[str, str]:
    """Return the sha256 of the files in a complete cache, by name; none where it cannot be read."""
    try:
        header = CacheHeader.read(cache)
        manifest = Manifest.read(cache, header)
        if manifest is None:
            return {}
        records = (
            read_record(cache, header.id, shard, sha256)
            for shard, sha256 in manifest.records.items()
        )
        files = image_files(cache, header, records)
    except FdetError:
        return {}
    return {image.file_name: files.get(image.id, "") for image in header.layout.images}
