"""The layout of a cache: the bucket, shard and slot of each image and view, found by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .errors import MissingSample
from .once import Once
from .wording import counted

# The maximum length of a path: Linux opens no longer ones.
_MAX_NAME = 4096


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One image of the data set: its id, its path below the image folder and its size in px."""

    id: int
    file_name: str
    hw: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Bucket:
    """The images whose canvases have one shape, in the order of their slots."""

    canvas_hw: tuple[int, int]
    images_per_shard: int
    images: tuple[ImageEntry, ...]

    def __post_init__(self) -> None:
        sizes = (*self.canvas_hw, self.images_per_shard)
        if not all(type(size) is int and size >= 1 for size in sizes) or not self.images:
            raise ValueError("a bucket needs images, at least one a shard, and a canvas")
        if self.images_per_shard > len(self.images):
            # Space is allotted for a full shard.
            raise ValueError(
                f"a bucket of {counted(len(self.images), 'image')} has {self.images_per_shard} in a shard"
            )

    @property
    def name(self) -> str:
        return f"{self.canvas_hw[0]}x{self.canvas_hw[1]}"


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of writing: some images of a bucket with all their views.

    number: its number among the shards of all buckets. index: its number within its bucket.
    """

    number: int
    index: int
    bucket: Bucket

    @property
    def name(self) -> str:
        return f"{self.bucket.name}-{self.index}"

    @property
    def images(self) -> tuple[ImageEntry, ...]:
        step = self.bucket.images_per_shard
        return self.bucket.images[self.index * step : (self.index + 1) * step]


class Address(NamedTuple):
    """The location of a sample: the number of its shard and its slot within that shard."""

    shard: int
    slot: int


@dataclass(frozen=True)
class Layout:
    """The locations of all samples of a cache: each image has a slot per view, side by side in a shard."""

    views: tuple[str, ...]
    buckets: tuple[Bucket, ...]

    def __post_init__(self) -> None:
        if not self.views:
            raise ValueError("a layout needs at least one view")
        canvases = [bucket.canvas_hw for bucket in self.buckets]
        if len(set(canvases)) != len(canvases):
            raise ValueError(f"canvases must differ from bucket to bucket, got {canvases}")
        images = sum(len(bucket.images) for bucket in self.buckets)
        if len(self._places) != images:
            raise ValueError("image ids must differ")

    @Once
    def shards(self) -> tuple[Shard, ...]:
        shards: list[Shard] = []
        for bucket in self.buckets:
            for index in range(-(-len(bucket.images) // bucket.images_per_shard)):
                shards.append(Shard(len(shards), index, bucket))
        return tuple(shards)

    @Once
    def _places(self) -> dict[int, tuple[int, int]]:
        """Return the number of the shard and the first slot in it, by image id."""
        views = len(self.views)
        return {
            image.id: (shard.number, position * views)
            for shard in self.shards
            for position, image in enumerate(shard.images)
        }

    @property
    def images(self) -> tuple[ImageEntry, ...]:
        return tuple(image for bucket in self.buckets for image in bucket.images)

    def only(self, images: Sequence[ImageEntry]) -> Layout:
        """Return the layout that an extraction of these images plans, with shards of the same size.

        Their order within a bucket is the given one.
        """
        members: dict[int, list[ImageEntry]] = {}
        for image in images:
            members.setdefault(self.bucket_of(image.id), []).append(image)
        buckets = []
        for number, bucket in enumerate(self.buckets):
            if number in members:
                per_shard = min(len(members[number]), bucket.images_per_shard)
                buckets.append(Bucket(bucket.canvas_hw, per_shard, tuple(members[number])))
        return Layout(self.views, tuple(buckets))

    def slots(self, bucket: Bucket) -> int:
        """Return the number of slots in a full shard of a bucket."""
        return bucket.images_per_shard * len(self.views)

    def samples(self, shard: Shard) -> list[tuple[int, int]]:
        """Return (image id, view) of each slot of a shard that is used."""
        return [(image.id, view) for image in shard.images for view in range(len(self.views))]

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._places

    def bucket_of(self, image_id: int) -> int:
        """Return the number of the image's bucket. Raises MissingSample."""
        return self._bucket_numbers[self.shard_of(image_id)]

    @Once
    def _bucket_numbers(self) -> list[int]:
        """Return the number of the bucket of each shard."""
        numbers = {bucket.name: number for number, bucket in enumerate(self.buckets)}
        return [numbers[shard.bucket.name] for shard in self.shards]

    def image(self, image_id: int) -> ImageEntry:
        """Return the entry of an image. Raises MissingSample."""
        shard, slot = self.locate(image_id, 0)
        return self.shards[shard].images[slot // len(self.views)]

    def shard_of(self, image_id: int) -> int:
        """Return the number of the shard that holds all views of an image. Raises MissingSample."""
        place = self._places.get(image_id)
        if place is None:
            raise MissingSample(f"image {image_id} is not in this cache")
        return place[0]

    def locate(self, image_id: int, view: int) -> Address:
        """Return the location of a sample. Raises MissingSample."""
        shard = self.shard_of(image_id)
        if not 0 <= view < len(self.views):
            raise MissingSample(
                f"view {view}: the cache has {counted(len(self.views), 'view')} (0 is {self.views[0]!r})"
            )
        return Address(shard, self._places[image_id][1] + view)

    def to_json(self) -> dict[str, Any]:
        """Return columns, not one record per image: a third of the bytes for a large data set."""
        return {
            "views": list(self.views),
            "buckets": [
                {
                    "canvas_hw": list(bucket.canvas_hw),
                    "images_per_shard": bucket.images_per_shard,
                    "image_ids": [image.id for image in bucket.images],
                    "file_names": [image.file_name for image in bucket.images],
                    "image_hw": [list(image.hw) for image in bucket.images],
                }
                for bucket in self.buckets
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Layout:
        return cls(tuple(data["views"]), tuple(_bucket(bucket) for bucket in data["buckets"]))


def _bucket(data: Mapping[str, Any]) -> Bucket:
    columns = zip(data["image_ids"], data["file_names"], data["image_hw"], strict=True)
    images = tuple(_image(*column) for column in columns)
    rows, width = data["canvas_hw"]
    return Bucket((rows, width), data["images_per_shard"], images)


def _image(image_id: Any, name: Any, hw: Any) -> ImageEntry:
    """Return an image's entry from its columns.

    Raises ValueError where they do not describe an image, or describe one outside the image folder.
    """
    rows, width = hw
    if not (type(image_id) is type(rows) is type(width) is int and type(name) is str):
        raise ValueError(f"image {image_id!r}: expected an id, a file name, two sizes")
    if not 0 <= image_id < 2**63 or rows < 1 or width < 1:
        raise ValueError(f"image {image_id}: its id or its size {hw} is out of range")
    if len(name) > _MAX_NAME:
        raise ValueError(f"image {image_id}: a file name of {len(name)} characters")
    if name[:1] in ("", "/") or "\0" in name or (".." in name and ".." in name.split("/")):
        raise ValueError(f"image {image_id}: {name!r} leaves the image folder")
    return ImageEntry(image_id, name, (rows, width))
