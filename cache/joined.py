"""Several caches read as one, e.g. of two data sets, or of parts that were extracted separately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .errors import InputError, KeyMismatch, MissingSample
from .format.chunks import Array
from .format.content import digest_of_parts
from .format.header import CacheHeader
from .format.vectors import Vectors
from .key import CacheKey
from .layout import Bucket, ImageEntry, Layout, Shard
from .once import Once
from .placement import Placement
from .reader import FeatureCache, check_maps
from .sampler import SampleId


class JoinedCache:
    """Several caches that read like one FeatureCache.

    The header names the images of all parts, and has an id of its own. There are image vectors where all
    parts have vectors of one kind. Raises KeyMismatch where the parts do not pair or differ in views, codec
    or calibration, InputError where an image id is in two of them.
    """

    def __init__(self, parts: Sequence[FeatureCache]) -> None:
        self.parts = tuple(parts)
        first = self.parts[0]
        for other in self.parts[1:]:
            _check_pair(first, other)
        self._owner: dict[int, FeatureCache] = {}
        for part in self.parts:
            for image in part.header.layout.images:
                owner = self._owner.setdefault(image.id, part)
                if owner is not part:
                    raise InputError(
                        f"image id {image.id} is in both {owner.root} and {part.root}; caches are "
                        "read as one only where no id is in two of them"
                    )
        layout = _joined([part.header.layout for part in self.parts])
        key = first.header.key
        if any(part.header.key.image_vector != key.image_vector for part in self.parts):
            key = replace(key, image_vector=None)
        self.header = CacheHeader(key, layout, first.header.backbone)

    @property
    def name(self) -> str:
        """The paths of all parts."""
        return " + ".join(str(part.root) for part in self.parts)

    @Once
    def failed(self) -> dict[int, str]:
        """Return the reason, by image id, for each image that could not be read at extraction."""
        return {image_id: why for part in self.parts for image_id, why in part.failed.items()}

    @Once
    def image_files(self) -> dict[int, str]:
        """Return the sha256 of each image's file, by image id, as FeatureCache.image_files does."""
        return {k: v for part in self.parts for k, v in part.image_files.items()}

    @property
    def content(self) -> str:
        """The digest of the image files of all parts together, whatever their order."""
        return digest_of_parts(part.content for part in self.parts)

    def empty_maps(self, image_id: int, count: int) -> list[Array]:
        """Return uninitialised maps as FeatureCache.empty_maps does."""
        return self._part(image_id).empty_maps(image_id, count)

    def read_into(self, samples: Sequence[SampleId], maps: Sequence[Array]) -> list[Placement]:
        """Fill `maps` with samples as FeatureCache.read_into does."""
        check_maps(samples, maps)
        rows_of: dict[FeatureCache, list[int]] = {}
        for row, (image_id, _) in enumerate(samples):
            rows_of.setdefault(self._part(image_id), []).append(row)
        placements: dict[int, Placement] = {}
        for part, rows in rows_of.items():
            read = part.read_into([samples[row] for row in rows], maps, rows)
            placements.update(zip(rows, read, strict=True))
        return [placements[row] for row in range(len(samples))]

    def vector(self, image_id: int, view: int = 0) -> Vectors:
        """Return the vector (C,) of the image as a whole, as FeatureCache.vector does."""
        vector: Vectors = self.vectors([(image_id, view)])[0]
        return vector

    def vectors(self, samples: Sequence[SampleId]) -> Vectors:
        """Return the image vectors (B, C) of samples, as FeatureCache.vectors does.

        Raises InputError where a part has no vectors, or vectors of another kind.
        """
        spec = self.header.key.image_vector
        if spec is None:
            kinds = (
                f"{part.root}: {part.header.key.image_vector or 'none'}" for part in self.parts
            )
            raise InputError(f"no image vectors of one kind in all caches ({'; '.join(kinds)})")
        found = np.empty((len(samples), spec.channels), np.float32)
        for row, sample in zip(found, samples, strict=True):
            row[:] = self._part(sample[0]).vector(*sample)
        return found

    def _part(self, image_id: int) -> FeatureCache:
        if image_id not in self._owner:
            raise MissingSample(f"image {image_id} is in none of these caches")
        return self._owner[image_id]


ReadableCache = FeatureCache | JoinedCache


def open_caches(paths: Sequence[Path]) -> ReadableCache:
    """Open one cache, or several as one; raises as FeatureCache.open and JoinedCache do."""
    caches = [FeatureCache.open(path) for path in paths]
    return caches[0] if len(caches) == 1 else JoinedCache(caches)


def parts_of(cache: ReadableCache) -> tuple[FeatureCache, ...]:
    """Return the caches that are read as one."""
    return cache.parts if isinstance(cache, JoinedCache) else (cache,)


def _check_pair(first: FeatureCache, other: FeatureCache) -> None:
    mine, theirs = first.header.key, other.header.key
    differences = [str(d) for d in mine.explain(theirs, "pair") if d.fatal]
    for name in ("views", "codec", "calibration"):
        if getattr(mine, name) != getattr(theirs, name):
            differences.append(f"{name}: {getattr(mine, name)} here, {getattr(theirs, name)} there")
    if differences:
        raise KeyMismatch(
            f"{first.root} (here) and {other.root} (there) cannot be read as one: "
            f"{'; '.join(differences)}{_calibration_advice(mine, theirs, first.root)}"
        )


def _calibration_advice(mine: CacheKey, theirs: CacheKey, first: Path) -> str:
    if mine.codec != theirs.codec or mine.calibration == theirs.calibration:
        return ""
    return f"; make the second with `--calibration {first}`"


@dataclass(frozen=True)
class _JoinedLayout(Layout):
    """The images of all parts by bucket, with the shards in which they are stored."""

    parts: tuple[Layout, ...]

    @Once
    def shards(self) -> tuple[Shard, ...]:
        shards = [shard for part in self.parts for shard in part.shards]
        return tuple(replace(shard, number=number) for number, shard in enumerate(shards))


def _joined(layouts: Sequence[Layout]) -> Layout:
    images: dict[tuple[int, int], list[ImageEntry]] = {}
    per_shard: dict[tuple[int, int], int] = {}
    for layout in layouts:
        for bucket in layout.buckets:
            images.setdefault(bucket.canvas_hw, []).extend(bucket.images)
            per_shard.setdefault(bucket.canvas_hw, bucket.images_per_shard)
    buckets = (Bucket(hw, per_shard[hw], tuple(members)) for hw, members in images.items())
    return _JoinedLayout(layouts[0].views, tuple(buckets), tuple(layouts))
