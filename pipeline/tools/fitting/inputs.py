"""inputs.json: the annotations and the images that a fit is made from, as they were when it began.

fit.json keeps the sha256 of its bytes, which shows whether anything has changed; this file shows what.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....cache.disk.files import read_below
from ....cache.errors import FdetError
from ....cache.format.content import image_files
from ....cache.format.header import CacheHeader
from ....cache.format.manifest import Manifest
from ....cache.format.records import read_record
from ....cache.format.sealed import canonical_json, parse_json
from ....cache.windows import split_name
from ....cache.wording import counted
from ...dataset.annotations import Annotations
from ...dataset.data_set import DataSet
from ...dataset.images.decoding import file_sha256
from .folder import TRAIN, VAL
from .options import FitOptions
from .parts import named_parts

NAME = "inputs.json"
# Format 1 has no classes, and other digests of objects.
FORMAT = 2
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
    its objects, "" where it is not known. classes: the names of its classes.
    """

    folder: str
    annotations: str
    images: Mapping[str, str]
    classes: tuple[str, ...] = ()


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
                "classes": part.classes,
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
            read = _part_of if data["format"] == FORMAT else _part_of_first
            return cls({name: read(part) for name, part in data["parts"].items()})
        except (FdetError, LookupError, TypeError, AttributeError):
            return None


def _part_of(data: Mapping[str, Any]) -> PartInputs:
    return PartInputs(
        data["folder"], data["annotations"], dict(data["images"]), tuple(data["classes"])
    )


def _part_of_first(data: Mapping[str, Any]) -> PartInputs:
    """Return a part that format 1 describes, without the digests of objects."""
    images = {name: state.rpartition(" ")[0] for name, state in data["images"].items()}
    return PartInputs(data["folder"], data["annotations"], images)


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
    raw = hashlib.sha256(data.raw).hexdigest()
    return PartInputs(str(folder), raw, images, annotations.class_names)


def _file_state(path: Path) -> str:
    """Return the size of a file and the time of its last change; "- -" where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return "- -"
    return f"{status.st_size} {status.st_mtime_ns}"


def _digests(annotations: Annotations) -> Iterator[str]:
    """Yield a digest of what is said of each image: its size and its objects.

    Ids do not count, as where they are made up all of them change with one image or class.
    """
    packed = annotations.packed
    classes = np.array([_digest(name) for name in annotations.class_names], dtype="S8")
    for image, begin, end in zip(
        annotations.images, annotations.starts[:-1], annotations.starts[1:], strict=True
    ):
        hashed = hashlib.blake2b(repr(image.hw).encode(), digest_size=8)
        hashed.update(classes[packed.labels[begin:end]].tobytes())
        for array in (packed.boxes, packed.crowd):
            hashed.update(array[begin:end].tobytes())
        yield hashed.hexdigest()


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()


def differences(
    before: Inputs, now: Inputs, is_same: Callable[[Key], bool] = lambda image: False
) -> list[str]:
    """Describe what has changed, each with how many and the first one; [] for nothing.

    is_same: whether an image whose file has another time, and the same size, has the content of before.
    """
    if before.parts.keys() != now.parts.keys():
        were, are = (", ".join(inputs.parts) for inputs in (before, now))
        return [f"it was used as {were}, and would be as {are}"]
    changes = [*_class_changes(before, now), *_image_changes(before, now, is_same)]
    return changes or [
        f"the annotations ({name})"
        for name, part in now.parts.items()
        if part.annotations != before.parts[name].annotations
    ]


def _class_changes(before: Inputs, now: Inputs) -> Iterator[str]:
    for name, part in now.parts.items():
        old, new = before.parts[name].classes, part.classes
        if not old:  # Format 1.
            continue
        for what, names in (
            ("added", [each for each in new if each not in old]),
            ("gone", [each for each in old if each not in new]),
        ):
            if names:
                yield _counted(names, "class", "classes", f"{what} in {name}")


def _image_changes(before: Inputs, now: Inputs, is_same: Callable[[Key], bool]) -> Iterator[str]:
    old, new = _states(before), _states(now)
    both = [key for key in new if key in old]
    edited = [
        key
        for key in both
        if old[key][:2] != new[key][:2] and not (old[key][0] == new[key][0] and is_same(key))
    ]
    relabelled = [key for key in both if old[key][2] and old[key][2] != new[key][2]]
    for what, keys in (
        ("added", [key for key in new if key not in old]),
        ("gone", [key for key in old if key not in new]),
        ("with another file", edited),
        ("with other objects", relabelled),
    ):
        if keys:
            yield _counted([image for _, image in keys], "image", "images", what)


def _states(inputs: Inputs) -> dict[Key, list[str]]:
    return {
        (name, image): f"{state}  ".split(" ")[:3]
        for name, part in inputs.parts.items()
        for image, state in part.images.items()
    }


def _counted(names: Sequence[str], noun: str, plural: str, what: str) -> str:
    first = names[0] if len(names) == 1 else f"the first: {names[0]}"
    return f"{counted(len(names), noun, plural)} {what} ({first})"


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
    return {
        split_name(image.file_name)[0]: files.get(image.id, "") for image in header.layout.images
    }
