"""Two caches of the same images, each from a different backbone, read side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import InputError, KeyMismatch
from .format.chunks import Array
from .format.vectors import Vectors
from .joined import ReadableCache
from .once import Once
from .placement import Placement
from .pyramid import SECOND, FeaturePyramid
from .reader import check_maps
from .sampler import SampleId
from .wording import counted

if TYPE_CHECKING:
    from torch import Tensor

    from .codecs.codec import Codec


class PairedCache:
    """Two caches that read like one, whose header and images are those of `first`.

    The maps of each sample are those of `first`, followed by those of `second`, which may hold more images.
    Raises KeyMismatch where views, --bits, images, their files or canvases differ, and on reading a sample
    that was placed differently; InputError where a level's name does not allow the prefix of a second cache.
    """

    def __init__(self, first: ReadableCache, second: ReadableCache) -> None:
        self.first, self.second = first, second
        self.header = first.header
        _check_views(first, second)
        _check_bits(first, second)
        _check_images(first, second)
        _check_content(first, second)
        try:
            first.header.key.levels.joined_with(second.header.key.levels)
        except ValueError as error:
            raise InputError(f"{first.name} and {second.name}: {error}") from error

    @Once
    def failed(self) -> dict[int, str]:
        """Return the reason, by image id, for each image of the first cache that either could not read."""
        layout = self.header.layout
        failed = {
            image_id: why for image_id, why in self.second.failed.items() if image_id in layout
        }
        return {**failed, **self.first.failed}

    @property
    def content(self) -> str:
        """The digests of the image files of both caches."""
        return f"{self.first.content} {self.second.content}"

    def empty_maps(self, image_id: int, count: int) -> list[Array]:
        """Return uninitialised maps as FeatureCache.empty_maps does; the two caches' types may differ."""
        parts = self.first, self.second
        return [x for part in parts for x in part.empty_maps(image_id, count)]

    def read_into(self, samples: Sequence[SampleId], maps: Sequence[Array]) -> list[Placement]:
        """Fill `maps` with samples as FeatureCache.read_into does."""
        check_maps(samples, maps)
        own = len(self.header.key.levels.levels)
        placements = self.first.read_into(samples, maps[:own])
        others = self.second.read_into(samples, maps[own:])
        for sample, mine, theirs in zip(samples, placements, others, strict=True):
            if mine != theirs:
                self._refuse(sample, mine, theirs)
        return placements

    def vector(self, image_id: int, view: int = 0) -> Vectors:
        """Return the image vector of the first cache; `second` has its own."""
        return self.first.vector(image_id, view)

    def vectors(self, samples: Sequence[SampleId]) -> Vectors:
        """Return the image vectors of the first cache; `second` has its own."""
        return self.first.vectors(samples)

    def _refuse(self, sample: SampleId, mine: Placement, theirs: Placement) -> None:
        view = self.header.layout.views[sample[1]]
        raise KeyMismatch(
            f"{self.first.name} and {self.second.name} do not show the same: image {sample[0]}, view "
            f"{view}, lies on its canvas as {mine.to_json()} in the first, as {theirs.to_json()} in the "
            "second; extract both with the same size and --seed"
        )


def _check_views(first: ReadableCache, second: ReadableCache) -> None:
    mine, theirs = first.header.layout.views, second.header.layout.views
    if mine != theirs:
        raise KeyMismatch(
            f"{first.name} and {second.name} have different views: {', '.join(mine)} in the first, "
            f"{', '.join(theirs)} in the second; extract both with the same --views"
        )


def _check_bits(first: ReadableCache, second: ReadableCache) -> None:
    mine, theirs = (cache.header.key.bits or 16 for cache in (first, second))
    if mine != theirs:
        raise KeyMismatch(
            f"deep pixels were read as {mine} bits for {first.name}, as {theirs} for {second.name}; extract "
            "both with the same --bits"
        )


def _check_images(first: ReadableCache, second: ReadableCache) -> None:
    mine, theirs = first.header.layout, second.header.layout
    lacking = [image.id for image in mine.images if image.id not in theirs]
    if lacking:
        raise KeyMismatch(
            f"{second.name} lacks {len(lacking)} of the {counted(len(mine.images), 'image')} of "
            f"{first.name}, e.g. id {lacking[0]}; extract it from the same annotations"
        )
    for bucket in mine.buckets:
        for image in bucket.images:
            other = theirs.buckets[theirs.bucket_of(image.id)].canvas_hw
            if theirs.image(image.id) != image:
                raise KeyMismatch(
                    f"image id {image.id} is {image.file_name} {image.hw} in {first.name}, "
                    f"{theirs.image(image.id).file_name} {theirs.image(image.id).hw} in {second.name}; "
                    "they are of different data sets"
                )
            if other != bucket.canvas_hw:
                raise KeyMismatch(
                    f"image {image.id} has a canvas of {bucket.canvas_hw} px in {first.name}, of {other} "
                    f"in {second.name}; extract both with one size that suits both backbones"
                )


def _check_content(first: ReadableCache, second: ReadableCache) -> None:
    """Raise KeyMismatch where the caches were made from different files of an image."""
    if first.content == second.content:
        return
    mine, theirs = first.image_files, second.image_files
    others = [k for k, sha256 in mine.items() if sha256 and theirs[k] and sha256 != theirs[k]]
    if others:
        raise KeyMismatch(
            f"{first.name} and {second.name} were made from different files of "
            f"{counted(len(others), 'image')}, e.g. id {others[0]} "
            f"({first.header.layout.image(others[0]).file_name}); extract both from the same"
        )


@dataclass(frozen=True)
class PairedCodec:
    """The codec of the pyramids of two backbones: the first one's stored arrays, then the second's."""

    first: Codec
    second: Codec

    def encode(self, pyramid: FeaturePyramid) -> tuple[Tensor, ...]:
        """Encode a pyramid that `FeaturePyramid.joined_with` returned, as Codec.encode does."""
        others = [f"{SECOND}{name}" for name in self.second.spec.names]
        mine = self.first.encode(pyramid.only(self.first.spec.names))
        return (*mine, *self.second.encode(pyramid.only(others)))

    def decode(self, stored: Sequence[Tensor], canvas_hw: tuple[int, int]) -> FeaturePyramid:
        """Decode both pyramids into one, in float32."""
        own = len(self.first.levels)
        mine = self.first.decode(stored[:own], canvas_hw)
        return mine.joined_with(self.second.decode(stored[own:], canvas_hw))

    def passed(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Return a pyramid as it comes back from the stored form, as `Codec.passed` does."""
        others = [f"{SECOND}{name}" for name in self.second.spec.names]
        mine, theirs = pyramid.only(self.first.spec.names), pyramid.only(others)
        second = FeaturePyramid(self.second.spec, theirs.maps, pyramid.canvas_hw)
        return self.first.passed(mine).joined_with(self.second.passed(second))
